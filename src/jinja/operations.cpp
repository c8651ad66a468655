#include "jinja/operations.hpp"

#include <algorithm>
#include <cmath>

#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

[[noreturn]] void unsupported(std::string_view sign, const Value& a, const Value& b) {
  require_defined(a);
  require_defined(b);
  fail(Fault::value, "unsupported operand type(s) for {}: '{}' and '{}'", sign, type_name(a), type_name(b));
}

[[noreturn]] void overflow() {
  fail(Fault::value, "a whole number leaves the range of 64 bits");
}
[[noreturn]] void zero_division() {
  fail(Fault::value, "division by zero");
}

std::int64_t integer_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return result;
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (b == 0) zero_division();
  if (b == -1 && a == INT64_MIN) overflow();
  const std::int64_t quotient = a / b;
  return quotient - ((a % b != 0 && (a % b < 0) != (b < 0)) ? 1 : 0);
}

std::int64_t floor_modulo(std::int64_t a, std::int64_t b) {
  if (b == 0) zero_division();
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value integers(std::string_view sign, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflows = false;
  if (sign == "+") {
    overflows = __builtin_add_overflow(a, b, &result);
  } else if (sign == "-") {
    overflows = __builtin_sub_overflow(a, b, &result);
  } else if (sign == "*") {
    overflows = __builtin_mul_overflow(a, b, &result);
  } else if (sign == "//") {
    result = floor_divide(a, b);
  } else if (sign == "%") {
    result = floor_modulo(a, b);
  } else if (sign == "**" && b >= 0) {
    result = std::abs(a) <= 1 ? (b == 0 || (a == -1 && b % 2 == 0) ? 1 : a)
                              : integer_power(a, std::min<std::int64_t>(b, 64));
  } else {
    if (b == 0 || (sign == "**" && a == 0)) zero_division();
    return Value::real(sign == "/" ? static_cast<double>(a) / static_cast<double>(b)
                                   : std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  if (overflows) overflow();
  return Value::integer(result);
}

Value reals(std::string_view sign, double a, double b) {
  if (sign == "+") return Value::real(a + b);
  if (sign == "-") return Value::real(a - b);
  if (sign == "*") return Value::real(a * b);
  if (sign == "**") {
    if (a == 0 && b < 0) zero_division();
    const double result = std::pow(a, b);
    if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) fail(Fault::value, "the power is a complex number");
    if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail(Fault::value, "the power is too large");
    return Value::real(result);
  }
  if (b == 0) zero_division();
  if (sign == "/") return Value::real(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (sign == "%") return Value::real(rest == 0 ? std::copysign(0.0, b) : rest);
  return Value::real(std::round((a - rest) / b));
}

Value repeat(const Value& value, std::int64_t count, Budget& budget) {
  const auto times = static_cast<std::uint64_t>(std::max<std::int64_t>(count, 0));
  if (const std::string* text = value.as_text()) {
    if (times > 0 && text->size() > (1ULL << 40U) / times) fail(Fault::limit, "a repeated text is too large");
    budget.memory(text->size() * times);
    std::string out;
    out.reserve(text->size() * times);
    for (std::uint64_t i = 0; i < times && !text->empty(); ++i) out += *text;
    return Value::text(std::move(out), value.is_markup());
  }
  const Sequence& sequence = *value.as_array();
  if (times > 0 && sequence.items.size() > (1ULL << 32U) / times) fail(Fault::limit, "a repeated list is too large");
  budget.memory(sequence.items.size() * times * sizeof(Value));
  std::vector<Value> items;
  for (std::uint64_t i = 0; i < times && !sequence.items.empty(); ++i)
    items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  return Value::sequence(sequence.flavor, std::move(items), budget);
}

Value add(const Value& a, const Value& b, Budget& budget) {
  if (a.as_text() && b.as_text()) return join({a, b}, "", budget);
  const Sequence* x = a.as_array();
  const Sequence* y = b.as_array();
  if (!x || !y || x->flavor != y->flavor) unsupported("+", a, b);
  budget.memory((x->items.size() + y->items.size()) * sizeof(Value));
  std::vector<Value> items = x->items;
  items.insert(items.end(), y->items.begin(), y->items.end());
  return Value::sequence(x->flavor, std::move(items), budget);
}

bool contains(const Value& container, const Value& element, Budget& budget) {
  if (const std::string* text = container.as_text()) {
    const std::string* part = element.as_text();
    if (!part) {
      require_defined(element);
      fail(Fault::value, "'in <string>' requires string as left operand, not {}", type_name(element));
    }
    budget.step(text->size() / 16 + text->size() * part->size() / 4096);  // the worst case of find
    return text->find(*part) != std::string::npos;
  }
  if (const Dict* dict = container.as_dict()) return dict->find(element, budget) != nullptr;
  if (!container.as_sequence() && !container.as_undefined())
    fail(Fault::value, "argument of type '{}' is not iterable", type_name(container));
  for (const Value& other : elements(container, budget)) {
    if (other.same(element) || equals(other, element, budget)) return true;
  }
  return false;
}

Value missing(const Value& value, const Value& index, Budget& budget) {
  const std::string object = value.is_none() ? "None" : type_name(value) + " object";
  if (const std::string* name = index.as_text())
    return Value::undefined(fmt::format("'{}' has no attribute '{}'", object, *name));
  return Value::undefined(fmt::format("'{}' has no element {}", object, repr(index, budget)));
}

/// A slice's numbers for a sequence of `size`: the first place, how many, and the end that was asked for.
struct Places {
  std::int64_t first = 0, step = 1, count = 0, end = 0;
};

std::optional<std::int64_t> slice_number(const Value& value) {
  if (value.is_none()) return std::nullopt;
  const auto number = value.as_integer();
  require_defined(value);
  if (!number) fail(Fault::value, "slice indices must be integers or None, not {}", type_name(value));
  return number;
}

Places places(const Value& start, const Value& stop, const Value& step, std::int64_t size) {
  Places result;
  result.step = slice_number(step).value_or(1);
  if (result.step == 0) fail(Fault::value, "slice step cannot be zero");
  const bool down = result.step < 0;
  const auto bound = [&](const Value& value, std::int64_t fallback) {
    const auto number = slice_number(value);
    if (!number) return fallback;
    const std::int64_t place = *number < 0 ? std::max(*number, -size - 1) + size : *number;
    return std::clamp<std::int64_t>(place, down ? -1 : 0, down ? size - 1 : size);
  };
  result.first = bound(start, down ? size - 1 : 0);
  const std::int64_t last = bound(stop, down ? -1 : size);
  result.end = last;
  const std::int64_t distance = down ? result.first - last : last - result.first;
  const std::uint64_t stride =
      down ? 0 - static_cast<std::uint64_t>(result.step) : static_cast<std::uint64_t>(result.step);
  if (distance > 0) result.count = static_cast<std::int64_t>((static_cast<std::uint64_t>(distance) - 1) / stride) + 1;
  return result;
}

/// A slice of a range is one itself.
Value part_of_range(const Sequence& whole, const Places& at, std::vector<Value> items) {
  const auto& [start, stop, step] = whole.range;
  auto part = std::make_shared<Sequence>();
  part->flavor = Flavor::range;
  part->items = std::move(items);
  part->range = {start + at.first * step, start + at.end * step, step * at.step};
  return Value(Value::Data(std::shared_ptr<const Sequence>(std::move(part))));
}

}  // namespace

Value binary(std::string_view sign, const Value& a, const Value& b, Machine& machine) {
  if (const auto x = a.as_integer(), y = b.as_integer(); x && y) return integers(sign, *x, *y);
  if (const auto x = a.as_number(), y = b.as_number(); x && y) return reals(sign, *x, *y);
  Budget& budget = machine.budget();
  if (sign == "+") return add(a, b, budget);
  if (sign == "*") {
    if ((a.as_text() || a.as_array()) && b.as_integer()) return repeat(a, *b.as_integer(), budget);
    if ((b.as_text() || b.as_array()) && a.as_integer()) return repeat(b, *a.as_integer(), budget);
  }
  if (sign == "%" && a.as_text()) return Value::text(percent_format(*a.as_text(), b, machine), a.is_markup());
  unsupported(sign, a, b);
}

Value negative(const Value& value) {
  if (const auto number = value.as_integer()) {
    if (*number == INT64_MIN) overflow();
    return Value::integer(-*number);
  }
  if (const auto number = value.as_number()) return Value::real(-*number);
  require_defined(value);
  fail(Fault::value, "bad operand type for unary -: '{}'", type_name(value));
}

Value positive(const Value& value) {
  if (const auto number = value.as_integer()) return Value::integer(*number);
  if (const auto number = value.as_number()) return Value::real(*number);
  require_defined(value);
  fail(Fault::value, "bad operand type for unary +: '{}'", type_name(value));
}

bool relation(std::string_view sign, const Value& a, const Value& b, Budget& budget) {
  if (sign == "==") return equals(a, b, budget);
  if (sign == "!=") return !equals(a, b, budget);
  if (sign == "in") return contains(b, a, budget);
  if (sign == "not in") return !contains(b, a, budget);
  const int order = compare(a, b, sign, budget);
  if (order == 2) return false;
  if (sign == "<") return order < 0;
  if (sign == "<=") return order <= 0;
  return sign == ">" ? order > 0 : order >= 0;
}

Value join(const std::vector<Value>& parts, std::string_view separator, Budget& budget) {
  const bool markup = std::any_of(parts.begin(), parts.end(), [](const Value& part) { return part.is_markup(); });
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Value& part = parts[i];
    std::string text = to_str(part, budget);
    if (markup && !part.is_markup()) text = escape_html(text);
    budget.memory(text.size() + separator.size());
    if (i > 0) out += separator;
    out += text;
  }
  return Value::text(std::move(out), markup);
}

Value attribute(const Value& value, std::string_view name, Budget& budget) {
  require_defined(value);
  if (name.starts_with("__") && name.ends_with("__")) {
    return Value::undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(value)),
                            Fault::security);
  }
  if (Object* object = value.as_object()) {
    if (auto found = object->attribute(name, budget)) return std::move(*found);
  } else if (auto found = method(value, name)) {
    return std::move(*found);
  } else if (const Dict* dict = value.as_dict()) {
    if (const Value* entry = dict->find(name)) return *entry;
  }
  return missing(value, Value::text(std::string(name)), budget);
}

Value item(const Value& value, const Value& index, Budget& budget) {
  require_defined(value);
  if (const Dict* dict = value.as_dict()) {
    const bool hashable = !index.as_dict() && (!index.as_sequence() || index.as_sequence()->flavor == Flavor::tuple);
    if (const Value* entry = hashable ? dict->find(index, budget) : nullptr) return *entry;
  }
  if (const auto place = index.as_integer()) {
    const Sequence* sequence = value.as_sequence();
    const bool indexed = sequence && (value.as_array() || sequence->flavor == Flavor::range);
    if (indexed || value.as_text()) {
      const auto size = *length(value);
      const std::int64_t at = *place < 0 ? *place + size : *place;
      if (at < 0 || at >= size) return missing(value, index, budget);
      if (indexed) return sequence->items[static_cast<std::size_t>(at)];
      budget.step(value.as_text()->size() / 16);
      return slice(value, Value::integer(at), Value::integer(at + 1), Value(), budget);
    }
  }
  if (const std::string* name = index.as_text()) {
    if (!value.as_dict() || method(value, *name)) return attribute(value, *name, budget);
  }
  return missing(value, index, budget);
}

Value slice(const Value& value, const Value& start, const Value& stop, const Value& step, Budget& budget) {
  require_defined(value);
  const Sequence* sequence = value.as_sequence();
  if (sequence && (value.as_array() || sequence->flavor == Flavor::range)) {
    const Places at = places(start, stop, step, static_cast<std::int64_t>(sequence->items.size()));
    budget.memory(static_cast<std::uint64_t>(at.count) * sizeof(Value));
    std::vector<Value> items;
    for (std::int64_t i = 0; i < at.count; ++i)
      items.push_back(sequence->items[static_cast<std::size_t>(at.first + i * at.step)]);
    if (sequence->flavor == Flavor::range) return part_of_range(*sequence, at, std::move(items));
    return Value::sequence(sequence->flavor, std::move(items), budget);
  }
  const std::string* text = value.as_text();
  if (!text) fail(Fault::value, "'{}' object is not subscriptable", type_name(value));
  budget.memory(text->size());
  const std::u32string characters = decode(*text);
  const Places at = places(start, stop, step, static_cast<std::int64_t>(characters.size()));
  std::string out;
  for (std::int64_t i = 0; i < at.count; ++i) append(out, characters[static_cast<std::size_t>(at.first + i * at.step)]);
  return Value::text(std::move(out), value.is_markup());
}

}  // namespace lorica::jinja
