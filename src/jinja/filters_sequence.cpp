// Filters that take or give several elements.
#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "jinja/filters.hpp"
#include "jinja/operations.hpp"
#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

Value generator(std::vector<Value> items, Budget& budget) {
  return Value::sequence(Flavor::generator, std::move(items), budget);
}

/// What elements are compared by: the attribute, and text without its case unless that counts.
Value sort_key(const Value& value, const Value* path, bool case_sensitive, Budget& budget) {
  const Value key = path ? at_path(value, *path, nullptr, budget) : value;
  return key.as_text() && !case_sensitive ? Value::text(lower(*key.as_text())) : key;
}

/// sort's attribute may name several, with commas between: the key is a tuple then.
Value sort_keys(const Value& value, const Value* paths, bool case_sensitive, Budget& budget) {
  if (!paths || !paths->as_text() || paths->as_text()->find(',') == std::string::npos)
    return sort_key(value, paths, case_sensitive, budget);
  std::vector<Value> keys;
  std::string_view rest = *paths->as_text();
  while (true) {
    const std::size_t comma = rest.find(',');
    const Value path = Value::text(std::string(rest.substr(0, comma)));
    keys.push_back(sort_key(value, &path, case_sensitive, budget));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  return Value::sequence(Flavor::tuple, std::move(keys), budget);
}

std::vector<std::size_t> order_of(const std::vector<Value>& keys, bool reverse, Budget& budget) {
  std::vector<std::size_t> order(keys.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return compare(reverse ? keys[b] : keys[a], reverse ? keys[a] : keys[b], "<", budget) == -1;
  });
  return order;
}

Value sort(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  Budget& budget = machine.budget();
  const std::vector<Value> items = elements(value, budget);
  std::vector<Value> keys, sorted;
  for (const Value& item : items)
    keys.push_back(sort_keys(item, parameters.unless_none(2), parameters.flag(1, false), budget));
  for (const std::size_t place : order_of(keys, parameters.flag(0, false), budget)) sorted.push_back(items[place]);
  return Value::list(std::move(sorted), budget);
}

Value dictsort(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  Budget& budget = machine.budget();
  require_defined(value);
  const Dict* dict = value.as_dict();
  if (!dict) fail(Fault::value, "dictsort needs a dict, not {}", type_name(value));
  const std::string by = parameters.text(1, "key");
  if (by != "key" && by != "value") fail(Fault::value, "You can only sort by either \"key\" or \"value\"");
  std::vector<Value> keys, pairs;
  for (const auto& [key, item] : dict->entries())
    keys.push_back(sort_key(by == "key" ? key : item, nullptr, parameters.flag(0, false), budget));
  for (const std::size_t place : order_of(keys, parameters.flag(2, false), budget)) {
    const auto& [key, item] = dict->entries()[place];
    pairs.push_back(Value::sequence(Flavor::tuple, {key, item}, budget));
  }
  return Value::list(std::move(pairs), budget);
}

Value unique(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("unique", arguments, {"case_sensitive", "attribute"});
  Budget& budget = machine.budget();
  Dict seen;
  std::vector<Value> kept;
  for (const Value& item : elements(value, budget)) {
    const Value key = sort_key(item, parameters.unless_none(1), parameters.flag(0, false), budget);
    if (seen.find(key, budget)) continue;
    seen.set(key, Value(), budget);
    kept.push_back(item);
  }
  return generator(std::move(kept), budget);
}

template <bool largest>
Value extreme(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("min", arguments, {"case_sensitive", "attribute"});
  Budget& budget = machine.budget();
  const std::vector<Value> items = elements(value, budget);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const Value* best = &items[0];
  Value best_key = sort_key(*best, parameters.unless_none(1), parameters.flag(0, false), budget);
  for (const Value& item : items) {
    Value key = sort_key(item, parameters.unless_none(1), parameters.flag(0, false), budget);
    if (compare(key, best_key, largest ? ">" : "<", budget) != (largest ? 1 : -1)) continue;
    best = &item;
    best_key = std::move(key);
  }
  return *best;
}

Value join_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("join", arguments, {"d", "attribute"});
  Budget& budget = machine.budget();
  std::vector<Value> texts;
  for (const Value& item : elements(value, budget)) {
    const Value part = parameters.unless_none(1) ? at_path(item, *parameters[1], nullptr, budget) : item;
    texts.push_back(Value::text(to_str(part, budget)));
  }
  return join(texts, parameters[0] ? to_str(*parameters[0], budget) : "", budget);
}

Value list_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("list", arguments, {});
  return Value::list(elements(value, machine.budget()), machine.budget());
}

Value map(Machine& machine, const Value& value, const Arguments& arguments) {
  Budget& budget = machine.budget();
  std::vector<Value> results;
  if (arguments.positional.empty()) {
    const Parameters parameters("map", arguments, {"attribute", "default"}, 1);
    for (const Value& item : elements(value, budget))
      results.push_back(at_path(item, *parameters[0], parameters[1], budget));
    return generator(std::move(results), budget);
  }
  if (!arguments.positional[0].as_text()) fail(Fault::value, "map needs the name of a filter");
  const std::string& name = *arguments.positional[0].as_text();
  for (const Value& item : elements(value, budget)) results.push_back(machine.filter(name, item, behind(arguments, 1)));
  return generator(std::move(results), budget);
}

/// select, reject, and of an attribute selectattr, rejectattr.
template <bool keep, bool of_attribute>
Value choose(Machine& machine, const Value& value, const Arguments& arguments) {
  Budget& budget = machine.budget();
  const std::size_t first = of_attribute ? 1 : 0;
  if (arguments.positional.size() < first) fail(Fault::value, "selectattr and rejectattr need an attribute");
  const Value* test = arguments.positional.size() > first ? &arguments.positional[first] : nullptr;
  if (test && !test->as_text()) fail(Fault::value, "select and reject need the name of a test");
  std::vector<Value> chosen;
  for (const Value& item : elements(value, budget)) {
    const Value subject = of_attribute ? at_path(item, arguments.positional[0], nullptr, budget) : item;
    const bool holds = test ? machine.test(*test->as_text(), subject, behind(arguments, first + 1)) : truth(subject);
    if (holds == keep) chosen.push_back(item);
  }
  return generator(std::move(chosen), budget);
}

Value first(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("first", arguments, {});
  const std::vector<Value> items = elements(value, machine.budget());
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

void require_reversible(const Value& value) {
  const Sequence* sequence = value.as_sequence();
  if (sequence && sequence->flavor == Flavor::generator) fail(Fault::value, "'generator' object is not reversible");
}

Value last(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("last", arguments, {});
  require_reversible(value);
  const std::vector<Value> items = elements(value, machine.budget());
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value reverse(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("reverse", arguments, {});
  if (value.as_text()) return slice(value, Value(), Value(), Value::integer(-1), machine.budget());
  std::vector<Value> items = elements(value, machine.budget());
  std::reverse(items.begin(), items.end());
  return generator(std::move(items), machine.budget());
}

Value items_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("items", arguments, {});
  if (value.as_undefined()) return generator({}, machine.budget());
  if (!value.as_dict()) fail(Fault::value, "Can only get item pairs from a mapping.");
  return generator(elements(machine.call(*method(value, "items"), {}), machine.budget()), machine.budget());
}

Value sum(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("sum", arguments, {"attribute", "start"});
  Value total = parameters[1] ? *parameters[1] : Value::integer(0);
  if (total.as_text()) fail(Fault::value, "sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : elements(value, machine.budget())) {
    total =
        binary("+", total, parameters.unless_none(0) ? at_path(item, *parameters[0], nullptr, machine.budget()) : item,
               machine);
  }
  return total;
}

Value batch(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("batch", arguments, {"linecount", "fill_with"}, 1);
  Budget& budget = machine.budget();
  const std::int64_t size = parameters.integer(0, 1);
  std::vector<Value> rows, row;
  for (Value& item : elements(value, budget)) {
    if (static_cast<std::int64_t>(row.size()) == size) rows.push_back(Value::list(std::exchange(row, {}), budget));
    row.push_back(std::move(item));
  }
  if (!row.empty()) {
    while (parameters.unless_none(1) && static_cast<std::int64_t>(row.size()) < size) {
      budget.memory(sizeof(Value));
      row.push_back(*parameters[1]);
    }
    rows.push_back(Value::list(std::move(row), budget));
  }
  return generator(std::move(rows), budget);
}

Value slice_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("slice", arguments, {"slices", "fill_with"}, 1);
  Budget& budget = machine.budget();
  const std::vector<Value> items = elements(value, budget);
  const std::int64_t count = parameters.integer(0, 1);
  if (count < 1) fail(Fault::value, "slice needs at least one slice");
  const auto size = static_cast<std::int64_t>(items.size());
  const std::int64_t each = size / count, longer = size % count;
  std::vector<Value> rows;
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t end = at + each + (i < longer ? 1 : 0);
    std::vector<Value> row(items.begin() + at, items.begin() + end);
    if (parameters.unless_none(1) && i >= longer && longer > 0) row.push_back(*parameters[1]);
    rows.push_back(Value::list(std::move(row), budget));
    at = end;
  }
  return generator(std::move(rows), budget);
}

Value groupby(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  Budget& budget = machine.budget();
  const std::vector<Value> items = elements(value, budget);
  std::vector<Value> names, keys, groups, group;
  for (const Value& item : items) {
    names.push_back(at_path(item, *parameters[0], parameters[1], budget));
    keys.push_back(sort_key(names.back(), nullptr, parameters.flag(2, false), budget));
  }
  const std::vector<std::size_t> order = order_of(keys, false, budget);
  for (std::size_t i = 0; i < order.size(); ++i) {
    group.push_back(items[order[i]]);
    if (i + 1 < order.size() && equals(keys[order[i]], keys[order[i + 1]], budget)) continue;
    const Value name = names[order[i + 1 - group.size()]];
    Value members = Value::list(std::exchange(group, {}), budget);
    groups.push_back(Value::sequence(Flavor::tuple, {name, std::move(members)}, budget));
  }
  return Value::list(std::move(groups), budget);
}

}  // namespace

Value at_path(const Value& value, const Value& path, const Value* fallback, Budget& budget) {
  if (!path.as_text()) return item(value, path, budget);
  Value found = value;
  std::string_view rest = *path.as_text();
  while (true) {
    const std::string_view part = rest.substr(0, rest.find('.'));
    std::int64_t place = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), place);
    const bool number =
        !part.empty() && part[0] != '-' && parsed.ptr == part.data() + part.size() && parsed.ec == std::errc();
    found = item(found, number ? Value::integer(place) : Value::text(std::string(part)), budget);
    if (found.as_undefined() && fallback) found = *fallback;
    if (part.size() == rest.size()) return found;
    rest.remove_prefix(part.size() + 1);
  }
}

Arguments behind(const Arguments& arguments, std::size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(std::min(count, rest.positional.size())));
  return rest;
}

Native find_sequence_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Native> table = {{"sort", sort},
                                                                     {"dictsort", dictsort},
                                                                     {"unique", unique},
                                                                     {"min", extreme<false>},
                                                                     {"max", extreme<true>},
                                                                     {"join", join_filter},
                                                                     {"list", list_filter},
                                                                     {"map", map},
                                                                     {"select", choose<true, false>},
                                                                     {"reject", choose<false, false>},
                                                                     {"selectattr", choose<true, true>},
                                                                     {"rejectattr", choose<false, true>},
                                                                     {"first", first},
                                                                     {"last", last},
                                                                     {"reverse", reverse},
                                                                     {"items", items_filter},
                                                                     {"sum", sum},
                                                                     {"batch", batch},
                                                                     {"slice", slice_filter},
                                                                     {"groupby", groupby}};
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

Native find_filter(std::string_view name) {
  const Native scalar = find_scalar_filter(name);
  return scalar ? scalar : find_sequence_filter(name);
}

}  // namespace lorica::jinja
