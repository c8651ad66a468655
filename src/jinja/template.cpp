#include "jinja/template.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>

#include "jinja/parser.hpp"
#include "jinja/renderer.hpp"

namespace lorica::jinja {
namespace {

Value from_json(const nlohmann::ordered_json& json, Budget& budget, int level = 0) {
  if (level > kMaxValueDepth) fail(Fault::limit, "the input nests deeper than {} levels", kMaxValueDepth);
  budget.step();
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case nlohmann::ordered_json::value_t::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case nlohmann::ordered_json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        fail(Fault::value, "the input has {}, which leaves the range of 64-bit whole numbers", number);
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case nlohmann::ordered_json::value_t::number_float:
      return Value::real(json.get<double>());
    case nlohmann::ordered_json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      budget.memory(text.size());
      return Value::text(text);
    }
    case nlohmann::ordered_json::value_t::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(from_json(item, budget, level + 1));
      return Value::list(std::move(items), budget);
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items())
        dict.set(Value::text(key), from_json(item, budget, level + 1), budget);
      return Value::dict(std::move(dict));
    }
    default:
      return {};
  }
}

bool has_generation(const Body& body) {
  return std::any_of(body.begin(), body.end(), [](const Statement& statement) {
    const auto in_branch = [](const auto& branch) { return has_generation(branch.second); };
    return statement.kind == Statement::Kind::generation || has_generation(statement.body) ||
           has_generation(statement.otherwise) ||
           std::any_of(statement.branches.begin(), statement.branches.end(), in_branch);
  });
}

}  // namespace

struct Template::Parsed {
  std::string name;
  Body body;
};

Template Template::parse(std::string_view text, std::string name) {
  try {
    Body body = jinja::parse(tokenize(text));
    return Template(std::make_shared<const Parsed>(Parsed{std::move(name), std::move(body)}));
  } catch (const SyntaxFailure& failure) {
    throw TemplateError(Fault::syntax, name, failure.line, failure.message);
  }
}

Rendered Template::render(const nlohmann::ordered_json& context, const Settings& settings) const {
  Machine machine(settings.limits, settings.now.value_or(std::chrono::system_clock::now()));
  int line = 1;
  try {
    const Value names = from_json(context, machine.budget());
    if (!names.as_dict()) fail(Fault::value, "the input isn't an object");
    Renderer renderer(machine, *names.as_dict());
    try {
      return renderer.run(parsed_->body);
    } catch (const Failure&) {
      line = renderer.line();
      throw;
    }
  } catch (const Failure& failure) {
    throw TemplateError(failure.fault, parsed_->name, line, failure.message);
  }
}

bool Template::has_generation_blocks() const {
  return has_generation(parsed_->body);
}

}  // namespace lorica::jinja
