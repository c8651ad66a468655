#include "jinja/machine.hpp"

#include <algorithm>

namespace lorica::jinja {

Value Machine::call(const Value& function, Arguments arguments) {
  require_defined(function);
  Object* object = function.as_object();
  if (!object || !object->callable()) fail(Fault::value, "'{}' object is not callable", type_name(function));
  const Budget::Level level(budget_);
  budget_.step();
  return object->call(*this, std::move(arguments));
}

Value Machine::filter(std::string_view name, const Value& value, Arguments arguments) {
  const Native native = find_filter(name);
  if (!native) fail(Fault::syntax, "there is no filter '{}'", name);
  const Budget::Level level(budget_);
  budget_.step();
  return native(*this, value, arguments);
}

Parameters::Parameters(std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names, std::size_t required)
    : function_(function), values_(names.size()) {
  if (arguments.positional.size() > names.size()) {
    fail(Fault::value, "{}() takes at most {} argument{}, {} were given", function, names.size(),
         names.size() == 1 ? "" : "s", arguments.positional.size());
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keyword) {
    const auto* const place = std::find(names.begin(), names.end(), name);
    if (place == names.end()) fail(Fault::value, "{}() has no argument '{}'", function, name);
    const Value*& slot = values_[static_cast<std::size_t>(place - names.begin())];
    if (slot) fail(Fault::value, "{}() got argument '{}' twice", function, name);
    slot = &value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!values_[i]) fail(Fault::value, "{}() needs an argument '{}'", function, *(names.begin() + i));
  }
}

const Value* Parameters::unless_none(std::size_t place) const {
  return values_[place] && !values_[place]->is_none() ? values_[place] : nullptr;
}

std::int64_t Parameters::integer(std::size_t place, std::int64_t fallback) const {
  if (!values_[place]) return fallback;
  require_defined(*values_[place]);
  const auto number = values_[place]->as_integer();
  if (!number) fail(Fault::value, "{}() needs a whole number, not {}", function_, type_name(*values_[place]));
  return *number;
}

bool Parameters::flag(std::size_t place, bool fallback) const {
  return values_[place] ? truth(*values_[place]) : fallback;
}

const std::string& Parameters::text(std::size_t place) const {
  require_defined(*values_[place]);
  const std::string* text = values_[place]->as_text();
  if (!text) fail(Fault::value, "{}() needs a string, not {}", function_, type_name(*values_[place]));
  return *text;
}

std::string Parameters::text(std::size_t place, std::string_view fallback) const {
  return values_[place] ? text(place) : std::string(fallback);
}

}  // namespace lorica::jinja
