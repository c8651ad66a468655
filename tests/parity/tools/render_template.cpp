// The door through which the parity tests see the interpreter of chat templates: JSON lines in, JSON lines out.
//
//   render_template < CASES > RESULTS
//   in:  {"name": …} or nothing, "template": text, "context": {…}, "now": seconds since 1970 (optional)
//   out: {"text": …, "spans": [[begin, end], …]} with places in characters, or {"fault": …, "line": …, "message": …}
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "jinja/template.hpp"
#include "jinja/text.hpp"

namespace {

using Json = nlohmann::ordered_json;
namespace jinja = lorica::jinja;

const char* fault_name(jinja::Fault fault) {
  switch (fault) {
    case jinja::Fault::syntax:
      return "syntax";
    case jinja::Fault::raised:
      return "raised";
    case jinja::Fault::undefined:
      return "undefined";
    case jinja::Fault::value:
      return "value";
    case jinja::Fault::security:
      return "security";
    case jinja::Fault::limit:
      return "limit";
  }
  return "";
}

Json render(const Json& test) {
  try {
    const auto parsed = jinja::Template::parse(test.at("template").get<std::string>(), test.value("name", "template"));
    jinja::Settings settings;
    if (test.contains("now")) settings.now = std::chrono::system_clock::from_time_t(test["now"].get<std::time_t>());
    const jinja::Rendered rendered = parsed.render(test.at("context"), settings);
    Json spans = Json::array();
    const std::string_view text = rendered.text;
    for (const jinja::Span& span : rendered.generation_spans)
      spans.push_back({jinja::text_length(text.substr(0, span.begin)), jinja::text_length(text.substr(0, span.end))});
    return {{"text", rendered.text}, {"spans", spans}};
  } catch (const jinja::TemplateError& error) {
    return {{"fault", fault_name(error.fault())}, {"line", error.line()}, {"message", error.message()}};
  }
}

}  // namespace

int main() {
  std::string line;
  while (std::getline(std::cin, line)) std::cout << render(Json::parse(line)).dump() << '\n';
  return 0;
}
