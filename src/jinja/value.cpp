#include "jinja/value.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

void check_depth(int depth) {
  if (depth > kMaxValueDepth) fail(Fault::limit, "values nest deeper than {} levels", kMaxValueDepth);
}

const char* flavor_name(Flavor flavor) {
  switch (flavor) {
    case Flavor::list:
      return "list";
    case Flavor::tuple:
      return "tuple";
    case Flavor::range:
      return "range";
    case Flavor::generator:
      return "generator";
    case Flavor::keys:
      return "dict_keys";
    case Flavor::values:
      return "dict_values";
    case Flavor::items:
      return "dict_items";
  }
  return "";
}

bool same_items(const Sequence& a, const Sequence& b, Budget& budget) {
  if (a.flavor != b.flavor || a.items.size() != b.items.size()) return false;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    if (!equals(a.items[i], b.items[i], budget)) return false;
  }
  return true;
}

bool same_entries(const Dict& a, const Dict& b, Budget& budget) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key, budget);
    if (!other || !equals(value, *other, budget)) return false;
  }
  return true;
}

std::string repr_items(const Sequence& sequence, Budget& budget) {
  const bool tuple = sequence.flavor == Flavor::tuple;
  std::string out = tuple ? "(" : "[";
  for (std::size_t i = 0; i < sequence.items.size(); ++i) out += (i ? ", " : "") + repr(sequence.items[i], budget);
  if (tuple && sequence.items.size() == 1) out += ",";
  return out + (tuple ? ")" : "]");
}

std::string repr_sequence(const Sequence& sequence, Budget& budget) {
  const auto& [start, stop, step] = sequence.range;
  switch (sequence.flavor) {
    case Flavor::list:
    case Flavor::tuple:
      return repr_items(sequence, budget);
    case Flavor::range:
      return step == 1 ? fmt::format("range({}, {})", start, stop)
                       : fmt::format("range({}, {}, {})", start, stop, step);
    case Flavor::generator:
      return "<generator object>";
    default:
      return fmt::format("{}({})", flavor_name(sequence.flavor), repr_items(sequence, budget));
  }
}

std::string repr_dict(const Dict& dict, Budget& budget) {
  std::string out = "{";
  for (const auto& [key, value] : dict.entries())
    out += (out.size() > 1 ? ", " : "") + repr(key, budget) + ": " + repr(value, budget);
  return out + "}";
}

}  // namespace

Value Object::call(Machine&, Arguments) {
  fail(Fault::value, "'{}' object is not callable", type_name());
}

Value Value::sequence(Flavor flavor, std::vector<Value> items, Budget& budget) {
  budget.memory(sizeof(Sequence) + items.size() * sizeof(Value));
  auto sequence = std::make_shared<Sequence>();
  sequence->flavor = flavor;
  for (const Value& item : items) sequence->depth = std::max(sequence->depth, item.depth() + 1);
  check_depth(sequence->depth);
  sequence->items = std::move(items);
  return Value(Data(std::shared_ptr<const Sequence>(std::move(sequence))));
}

Value Value::dict(Dict dict) {
  return Value(Data(std::make_shared<const Dict>(std::move(dict))));
}

const Sequence* Value::as_array() const {
  const Sequence* sequence = as_sequence();
  return sequence && (sequence->flavor == Flavor::list || sequence->flavor == Flavor::tuple) ? sequence : nullptr;
}

std::optional<std::int64_t> Value::as_integer() const {
  if (const auto* value = get<bool>()) return *value ? 1 : 0;
  if (const auto* value = get<std::int64_t>()) return *value;
  return std::nullopt;
}

std::optional<double> Value::as_number() const {
  if (const auto* value = get<double>()) return *value;
  if (const auto value = as_integer()) return static_cast<double>(*value);
  return std::nullopt;
}

bool Value::same(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_none()) return true;
  if (const auto* value = get<bool>()) return *value == *other.get<bool>();
  if (const auto* value = get<std::int64_t>()) return *value == *other.get<std::int64_t>();
  if (const auto* value = get<double>()) return *value == *other.get<double>();
  if (const auto* value = as_text()) return *value == *other.as_text();  // as Python mostly does with short strings
  if (as_undefined()) return as_undefined() == other.as_undefined();
  if (as_sequence()) return as_sequence() == other.as_sequence();
  if (as_dict()) return as_dict() == other.as_dict();
  return as_object() == other.as_object();
}

int Value::depth() const {
  if (const Sequence* sequence = as_sequence()) return sequence->depth;
  if (const Dict* dict = as_dict()) return dict->depth();
  if (const Object* object = as_object()) return object->depth();
  return 0;
}

const Value* Dict::find(const Value& key, Budget& budget) const {
  const auto [first, last] = places_.equal_range(hash(key, budget));
  for (auto place = first; place != last; ++place) {
    budget.step();
    if (equals(entries_[place->second].first, key, budget)) return &entries_[place->second].second;
  }
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  const auto [first, last] = places_.equal_range(std::hash<std::string_view>()(key));
  for (auto place = first; place != last; ++place) {
    const std::string* text = entries_[place->second].first.as_text();
    if (text && *text == key) return &entries_[place->second].second;
  }
  return nullptr;
}

void Dict::set(Value key, Value value, Budget& budget) {
  depth_ = std::max({depth_, key.depth() + 1, value.depth() + 1});
  check_depth(depth_);
  if (const Value* there = find(key, budget)) {
    *const_cast<Value*>(there) = std::move(value);  // an entry of this very dict, which isn't const here
    return;
  }
  budget.memory(2 * sizeof(Value) + 64);
  places_.emplace(hash(key, budget), entries_.size());
  entries_.emplace_back(std::move(key), std::move(value));
}

std::string type_name(const Value& value) {
  if (value.is_none()) return "NoneType";
  if (value.as_undefined()) return "Undefined";
  if (value.get<bool>()) return "bool";
  if (value.get<std::int64_t>()) return "int";
  if (value.get<double>()) return "float";
  if (value.as_text()) return value.is_markup() ? "Markup" : "str";
  if (const Sequence* sequence = value.as_sequence()) return flavor_name(sequence->flavor);
  if (value.as_dict()) return "dict";
  return value.as_object()->type_name();
}

bool truth(const Value& value) {
  if (const auto number = value.as_number()) return *number != 0;
  if (value.is_none() || value.as_undefined()) return false;
  if (const std::string* text = value.as_text()) return !text->empty();
  const auto size = length(value);
  return !size || *size > 0;
}

bool equals(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (const auto x = a.as_integer(), y = b.as_integer(); x && y) return *x == *y;
  if (const auto x = a.as_number(), y = b.as_number(); x && y) return *x == *y;
  if (a.as_text() && b.as_text()) {
    budget.step(a.as_text()->size() / 64);
    return *a.as_text() == *b.as_text();
  }
  if (a.as_undefined() && b.as_undefined()) return true;
  if (a.as_sequence() && b.as_sequence()) {
    const Flavor flavor = a.as_sequence()->flavor;
    if (a.same(b)) return true;
    if (flavor == Flavor::generator || flavor == Flavor::values) return false;
    return same_items(*a.as_sequence(), *b.as_sequence(), budget);
  }
  if (a.as_dict() && b.as_dict()) return a.same(b) || same_entries(*a.as_dict(), *b.as_dict(), budget);
  return a.same(b);
}

int compare(const Value& a, const Value& b, std::string_view sign, Budget& budget) {
  budget.step();
  if (const auto x = a.as_integer(), y = b.as_integer(); x && y) return *x < *y ? -1 : *x > *y;
  if (const auto x = a.as_number(), y = b.as_number(); x && y) {
    if (std::isnan(*x) || std::isnan(*y)) return 2;
    return *x < *y ? -1 : *x > *y;
  }
  if (a.as_text() && b.as_text()) {
    budget.step(a.as_text()->size() / 64);
    const int order = a.as_text()->compare(*b.as_text());  // the order of UTF-8 bytes is that of code points
    return order < 0 ? -1 : order > 0;
  }
  const Sequence* x = a.as_array();
  const Sequence* y = b.as_array();
  if (x && y && x->flavor == y->flavor) {
    for (std::size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i) {
      if (!equals(x->items[i], y->items[i], budget)) return compare(x->items[i], y->items[i], sign, budget);
    }
    return x->items.size() < y->items.size() ? -1 : x->items.size() > y->items.size();
  }
  require_defined(a);
  require_defined(b);
  fail(Fault::value, "'{}' not supported between instances of '{}' and '{}'", sign, type_name(a), type_name(b));
}

std::size_t hash(const Value& value, Budget& budget) {
  budget.step();
  if (const auto number = value.as_integer()) return std::hash<double>()(static_cast<double>(*number));
  if (const auto* number = value.get<double>()) return std::hash<double>()(*number);
  if (const std::string* text = value.as_text()) {
    budget.step(text->size() / 64);
    return std::hash<std::string_view>()(*text);
  }
  const Sequence* sequence = value.as_sequence();
  if (sequence && sequence->flavor == Flavor::tuple) {
    std::size_t sum = 7;
    for (const Value& item : sequence->items) sum = sum * 1000003 + hash(item, budget);
    return sum;
  }
  if (value.as_dict() || (sequence && sequence->flavor != Flavor::range && sequence->flavor != Flavor::generator))
    fail(Fault::value, "unhashable type: '{}'", type_name(value));
  return value.is_none() ? 1 : 2;
}

std::string repr(const Value& value, Budget& budget) {
  budget.step();
  if (value.is_none()) return "None";
  if (value.as_undefined()) return "Undefined";
  if (const auto* boolean = value.get<bool>()) return *boolean ? "True" : "False";
  if (const auto* integer = value.get<std::int64_t>()) return std::to_string(*integer);
  if (const auto* real = value.get<double>()) return float_repr(*real);
  std::string text;
  if (const std::string* bytes = value.as_text()) {
    budget.memory(bytes->size());
    return value.is_markup() ? "Markup(" + in_quotes(*bytes) + ")" : in_quotes(*bytes);
  }
  if (const Sequence* sequence = value.as_sequence()) {
    text = repr_sequence(*sequence, budget);
  } else if (const Dict* dict = value.as_dict()) {
    text = repr_dict(*dict, budget);
  } else {
    const Budget::Level level(budget);
    text = value.as_object()->repr(budget);
  }
  budget.memory(text.size());
  return text;
}

std::string to_str(const Value& value, Budget& budget) {
  if (const std::string* text = value.as_text()) return *text;
  if (value.as_undefined()) return "";
  return repr(value, budget);
}

std::vector<Value> elements(const Value& value, Budget& budget) {
  std::vector<Value> items;
  if (const Sequence* sequence = value.as_sequence()) {
    if (sequence->consumed) return items;
    sequence->consumed = sequence->flavor == Flavor::generator;
    budget.memory(sequence->items.size() * sizeof(Value));
    return sequence->items;
  }
  if (const Dict* dict = value.as_dict()) {
    budget.memory(dict->size() * sizeof(Value));
    for (const auto& entry : dict->entries()) items.push_back(entry.first);
    return items;
  }
  if (const std::string* text = value.as_text()) {
    budget.memory(text->size() * (sizeof(Value) + 48));
    for (const char32_t c : decode(*text)) items.push_back(Value::text(encode({&c, 1}), value.is_markup()));
    return items;
  }
  if (value.as_undefined()) return items;
  fail(Fault::value, "'{}' object is not iterable", type_name(value));
}

std::optional<std::int64_t> length(const Value& value) {
  if (const std::string* text = value.as_text()) return static_cast<std::int64_t>(text_length(*text));
  if (const Dict* dict = value.as_dict()) return static_cast<std::int64_t>(dict->size());
  if (value.as_undefined()) return 0;
  const Sequence* sequence = value.as_sequence();
  if (sequence && sequence->flavor != Flavor::generator) return static_cast<std::int64_t>(sequence->items.size());
  return std::nullopt;
}

void require_defined(const Value& value) {
  if (const Undefined* undefined = value.as_undefined()) throw Failure{undefined->fault, undefined->message};
}

}  // namespace lorica::jinja
