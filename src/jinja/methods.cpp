// The methods of strings, lists, tuples and dicts that a sandboxed template may call.
// Source: https://docs.python.org/3/library/stdtypes.html
#include <algorithm>
#include <array>
#include <unordered_map>

#include "jinja/machine.hpp"

namespace lorica::jinja {
namespace {

using Table = std::unordered_map<std::string_view, Native>;

Value view(Machine& machine, const Value& self, Flavor flavor) {
  Budget& budget = machine.budget();
  const Dict& dict = *self.as_dict();
  budget.memory(dict.size() * 2 * sizeof(Value));
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries()) {
    if (flavor == Flavor::items) {
      items.push_back(Value::sequence(Flavor::tuple, {key, value}, budget));
    } else {
      items.push_back(flavor == Flavor::keys ? key : value);
    }
  }
  return Value::sequence(flavor, std::move(items), budget);
}

Value dict_items(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("items", arguments, {});
  return view(machine, self, Flavor::items);
}

Value dict_keys(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("keys", arguments, {});
  return view(machine, self, Flavor::keys);
}

Value dict_values(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("values", arguments, {});
  return view(machine, self, Flavor::values);
}

Value dict_get(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("get", arguments, {"key", "default"}, 1);
  const Value* found = self.as_dict()->find(*parameters[0], machine.budget());
  return found ? *found : parameters[1] ? *parameters[1] : Value();
}

Value copy(Machine&, const Value& self, const Arguments& arguments) {
  const Parameters parameters("copy", arguments, {});
  return self;  // nothing can change it
}

Value list_count(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("count", arguments, {"value"}, 1);
  const auto& items = self.as_sequence()->items;
  return Value::integer(std::count_if(
      items.begin(), items.end(), [&](const Value& item) { return equals(item, *parameters[0], machine.budget()); }));
}

Value list_index(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("index", arguments, {"value", "start", "stop"}, 1);
  const auto& items = self.as_sequence()->items;
  const auto size = static_cast<std::int64_t>(items.size());
  const auto place = [size](std::int64_t at) { return std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size); };
  const std::int64_t stop = place(parameters.integer(2, size));
  for (std::int64_t i = place(parameters.integer(1, 0)); i < stop; ++i) {
    if (equals(items[static_cast<std::size_t>(i)], *parameters[0], machine.budget())) return Value::integer(i);
  }
  fail(Fault::value, "{} is not in list", repr(*parameters[0], machine.budget()));
}

const Table& dict_methods() {
  static const Table table = {
      {"items", dict_items}, {"keys", dict_keys}, {"values", dict_values}, {"get", dict_get}, {"copy", copy}};
  return table;
}

const Table& list_methods() {
  static const Table table = {{"count", list_count}, {"index", list_index}, {"copy", copy}};
  return table;
}

template <std::size_t N>
bool among(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 5> kDictChanges = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::array<std::string_view, 8> kListChanges = {"append", "clear",  "extend",  "insert",
                                                          "pop",    "remove", "reverse", "sort"};

}  // namespace

std::optional<Value> method(const Value& self, std::string_view name) {
  Native native = nullptr;
  bool changes = false;
  if (self.as_text()) {
    native = find_text_method(name);
  } else {
    const Sequence* sequence = self.as_sequence();
    const bool list = sequence && sequence->flavor == Flavor::list;
    changes = (self.as_dict() && among(name, kDictChanges)) || (list && among(name, kListChanges));
    const bool counts = list || (sequence && name != "copy" &&
                                 (sequence->flavor == Flavor::tuple || sequence->flavor == Flavor::range));
    const Table* table = self.as_dict() ? &dict_methods() : counts ? &list_methods() : nullptr;
    if (table && table->contains(name)) native = table->at(name);
  }
  if (changes) {
    return Value::undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(self)),
                            Fault::security);
  }
  if (!native) return std::nullopt;
  return Value(Value::Data(std::shared_ptr<Object>(std::make_shared<NativeFunction>(std::string(name), native, self))));
}

}  // namespace lorica::jinja
