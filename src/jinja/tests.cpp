// What may stand behind `is`. Source: https://jinja.palletsprojects.com/en/stable/templates/#list-of-builtin-tests
#include <unordered_map>

#include "jinja/machine.hpp"
#include "jinja/operations.hpp"
#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

using Test = bool (*)(Machine& machine, const Value& value, const Value* argument);

using Plain = bool (*)(const Value& value);

/// Either of the two.
struct Entry {
  Plain plain = nullptr;
  Test test = nullptr;
  bool takes_argument = false;
};

Entry plain(Plain holds) {
  return {.plain = holds};
}
Entry alone(Test test) {
  return {.test = test};
}
Entry against(Test test) {
  return {.test = test, .takes_argument = true};
}

bool is_sequence(const Value& value) {
  const Sequence* sequence = value.as_sequence();
  return value.as_text() || value.as_dict() || value.as_undefined() || value.as_array() ||
         (sequence && sequence->flavor == Flavor::range);
}

std::int64_t whole(const Value& value) {
  require_defined(value);
  const auto number = value.as_integer();
  if (!number) fail(Fault::value, "odd, even and divisibleby need whole numbers, not {}", type_name(value));
  return *number;
}

bool lower_case(Machine& machine, const Value& value, const Value*) {
  const Value text = Value::text(to_str(value, machine.budget()));
  return truth(machine.call(*method(text, "islower"), {}));
}

bool upper_case(Machine& machine, const Value& value, const Value*) {
  const Value text = Value::text(to_str(value, machine.budget()));
  return truth(machine.call(*method(text, "isupper"), {}));
}

bool divisible(Machine& machine, const Value& value, const Value* argument) {
  return !truth(binary("%", Value::integer(whole(value)), Value::integer(whole(*argument)), machine));
}

template <char first, char second>
bool relates(Machine& machine, const Value& value, const Value* argument) {
  constexpr char kSign[] = {first, second, '\0'};
  return relation(kSign, value, *argument, machine.budget());
}

bool is_in(Machine& machine, const Value& value, const Value* argument) {
  return relation("in", value, *argument, machine.budget());
}

const std::unordered_map<std::string_view, Entry>& table() {
  static const std::unordered_map<std::string_view, Entry> entries = {
      {"defined", plain([](const Value& v) { return !v.as_undefined(); })},
      {"undefined", plain([](const Value& v) { return v.as_undefined() != nullptr; })},
      {"none", plain([](const Value& v) { return v.is_none(); })},
      {"boolean", plain([](const Value& v) { return v.get<bool>() != nullptr; })},
      {"true", plain([](const Value& v) { return v.get<bool>() && *v.get<bool>(); })},
      {"false", plain([](const Value& v) { return v.get<bool>() && !*v.get<bool>(); })},
      {"integer", plain([](const Value& v) { return v.get<std::int64_t>() != nullptr; })},
      {"float", plain([](const Value& v) { return v.get<double>() != nullptr; })},
      {"number", plain([](const Value& v) { return v.as_number().has_value(); })},
      {"string", plain([](const Value& v) { return v.as_text() != nullptr; })},
      {"mapping", plain([](const Value& v) { return v.as_dict() != nullptr; })},
      {"sequence", plain(is_sequence)},
      {"iterable", plain([](const Value& v) { return is_sequence(v) || v.as_sequence(); })},
      {"callable", plain([](const Value& v) { return v.as_object() && v.as_object()->callable(); })},
      {"escaped", plain([](const Value& v) { return v.is_markup(); })},
      {"odd", plain([](const Value& v) { return whole(v) % 2 != 0; })},
      {"even", plain([](const Value& v) { return whole(v) % 2 == 0; })},
      {"lower", alone(lower_case)},
      {"upper", alone(upper_case)},
      {"divisibleby", against(divisible)},
      {"sameas", against([](Machine&, const Value& v, const Value* other) { return v.same(*other); })},
      {"in", against(is_in)},
      {"filter",
       alone([](Machine&, const Value& v, const Value*) { return v.as_text() && find_filter(*v.as_text()); })},
      {"test",
       alone([](Machine&, const Value& v, const Value*) { return v.as_text() && table().contains(*v.as_text()); })},
      {"==", against(relates<'=', '='>)},
      {"eq", against(relates<'=', '='>)},
      {"equalto", against(relates<'=', '='>)},
      {"!=", against(relates<'!', '='>)},
      {"ne", against(relates<'!', '='>)},
      {"<", against(relates<'<', '\0'>)},
      {"lt", against(relates<'<', '\0'>)},
      {"lessthan", against(relates<'<', '\0'>)},
      {"<=", against(relates<'<', '='>)},
      {"le", against(relates<'<', '='>)},
      {">", against(relates<'>', '\0'>)},
      {"gt", against(relates<'>', '\0'>)},
      {"greaterthan", against(relates<'>', '\0'>)},
      {">=", against(relates<'>', '='>)},
      {"ge", against(relates<'>', '='>)}};
  return entries;
}

}  // namespace

bool Machine::test(std::string_view name, const Value& value, Arguments arguments) {
  const auto found = table().find(name);
  if (found == table().end()) fail(Fault::syntax, "there is no test '{}'", name);
  budget_.step();
  const std::size_t takes = found->second.takes_argument ? 1 : 0;
  if (arguments.positional.size() != takes || !arguments.keyword.empty())
    fail(Fault::value, "the test '{}' takes {} argument", name, takes ? "one" : "no");
  if (found->second.plain) return found->second.plain(value);
  return found->second.test(*this, value, takes ? arguments.positional.data() : nullptr);
}

}  // namespace lorica::jinja
