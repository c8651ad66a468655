// Chat templates: Jinja, as jinja2's ImmutableSandboxedEnvironment runs it for transformers' apply_chat_template
// (trim_blocks, lstrip_blocks, loop controls, generation blocks, raise_exception, strftime_now, tojson without HTML
// escapes), and nothing of it that reaches outside: no file, no network, no other template. Whole numbers have 64 bits;
// leaving them is an error. Sources: https://jinja.palletsprojects.com/en/stable/templates/,
// https://huggingface.co/docs/transformers/chat_templating_writing
//
//   const auto chat = jinja::Template::parse(text, "chat_template.jinja");
//   const auto rendered = chat.render({{"messages", messages}, {"add_generation_prompt", true}});
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/budget.hpp"
#include "jinja/error.hpp"

namespace lorica::jinja {

struct Settings {
  std::optional<std::chrono::system_clock::time_point> now;  ///< of strftime_now; the clock's if it is missing
  Limits limits;
};

/// Bytes [begin, end) of the text.
struct Span {
  std::size_t begin, end;
};

struct Rendered {
  std::string text;                    ///< UTF-8
  std::vector<Span> generation_spans;  ///< what {% generation %} blocks produced, in order
  bool all_generation_known =
      true;  ///< false if one of them stood in a macro or a captured block, so that its place isn't known
};

/// A parsed template; cheap to copy, and threads may render the same one at the same time.
class Template {
 public:
  /// `name` is what errors call it. Throws TemplateError.
  static Template parse(std::string_view text, std::string name);

  /// `context` is an object: the names that the template sees, in Python's terms (null is None). Throws TemplateError.
  Rendered render(const nlohmann::ordered_json& context, const Settings& settings = {}) const;

  bool has_generation_blocks() const;

 private:
  struct Parsed;
  explicit Template(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
  std::shared_ptr<const Parsed> parsed_;
};

}  // namespace lorica::jinja
