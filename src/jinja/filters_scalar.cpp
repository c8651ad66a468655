// Filters that give one text or number.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <unordered_map>

#include "jinja/filters.hpp"
#include "jinja/operations.hpp"
#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

/// As a string; markup stays markup.
Value soft(const Value& value, Budget& budget) {
  return value.as_text() ? value : Value::text(to_str(value, budget));
}

/// A filter that is a method of the value's text.
template <const char* name>
Value text_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  return find_text_method(name)(machine, soft(value, machine.budget()), arguments);
}

constexpr char kUpper[] = "upper", kLower[] = "lower", kCapitalize[] = "capitalize", kStrip[] = "strip";

Value title_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("title", arguments, {});
  const std::u32string text = decode(to_str(value, machine.budget()));
  machine.budget().memory(text.size() * 8);
  std::string out, word;
  const auto flush = [&]() {
    const std::u32string letters = decode(std::exchange(word, {}));
    out += upper(encode(letters.substr(0, 1)));
    if (letters.size() > 1) out += lower(encode(letters.substr(1)));
  };
  for (const char32_t c : text) {
    // A word begins behind white space, a hyphen or an opening bracket.
    const bool edge = is_space(c) || std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos;
    if (edge) flush();
    append(edge ? out : word, c);
  }
  flush();
  return Value::text(std::move(out));
}

Value default_filter(Machine&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("default", arguments, {"default_value", "boolean"});
  if (!value.as_undefined() && !(parameters.flag(1, false) && !truth(value))) return value;
  return parameters[0] ? *parameters[0] : Value::text("");
}

Value length_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  if (value.as_text()) machine.budget().step(value.as_text()->size() / 16);
  const Parameters parameters("length", arguments, {});
  const auto size = length(value);
  if (!size) fail(Fault::value, "object of type '{}' has no len()", type_name(value));
  return Value::integer(*size);
}

Value replace_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("replace", arguments, {"old", "new", "count"}, 2);
  Budget& budget = machine.budget();
  Arguments given;
  given.positional = {Value::text(to_str(*parameters[0], budget)), Value::text(to_str(*parameters[1], budget)),
                      parameters.unless_none(2) ? *parameters[2] : Value::integer(-1)};
  return find_text_method("replace")(machine, Value::text(to_str(value, budget)), given);
}

Value string_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("string", arguments, {});
  return soft(value, machine.budget());
}

Value safe_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("safe", arguments, {});
  return Value::text(to_str(value, machine.budget()), true);
}

template <bool force>
Value escape_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("escape", arguments, {});
  if (value.is_markup() && !force) return value;
  std::string text = escape_html(to_str(value, machine.budget()));
  machine.budget().memory(text.size());
  return Value::text(std::move(text), true);
}

Value tojson_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = parameters.flag(0, false);
  style.sort_keys = parameters.flag(3, false);
  if (const Value* indent = parameters.unless_none(1)) {
    if (indent->as_text()) {
      style.indent = *indent->as_text();
    } else {
      const std::int64_t width = std::max<std::int64_t>(parameters.integer(1, 0), 0);
      machine.budget().memory(static_cast<std::uint64_t>(width));
      style.indent = std::string(static_cast<std::size_t>(width), ' ');
    }
    style.item_separator = ",";
  }
  if (const Value* separators = parameters.unless_none(2)) {
    const std::vector<Value> pair = elements(*separators, machine.budget());
    if (pair.size() != 2 || !pair[0].as_text() || !pair[1].as_text())
      fail(Fault::value, "tojson's separators are two strings");
    style.item_separator = *pair[0].as_text();
    style.key_separator = *pair[1].as_text();
  }
  return Value::text(to_json(value, style, machine.budget()));
}

/// Python's int(text, base).
std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
  text = strip(text, std::nullopt, true, true);
  const bool minus = text.starts_with('-');
  if (minus || text.starts_with('+')) text.remove_prefix(1);
  if (text.size() > 2 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 0x20);
    const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked && marked == base) text.remove_prefix(2);
  }
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && i > 0 && i + 1 < text.size() && text[i - 1] != '_') continue;
    digits += text[i];
  }
  std::uint64_t number = 0;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, number, base);
  if (digits.empty() || parsed.ptr != end) return std::nullopt;
  if (parsed.ec != std::errc() || number > (1ULL << 63U) - (minus ? 0 : 1))
    fail(Fault::value, "a whole number leaves the range of 64 bits");
  return static_cast<std::int64_t>(minus ? 0 - number : number);
}

std::optional<double> parse_real(std::string_view text) {
  const std::string trimmed = lower(strip(text, std::nullopt, true, true));
  if (trimmed.empty() || trimmed.find_first_not_of("0123456789.+-einfaty_") != std::string::npos) return std::nullopt;
  std::string plain = trimmed;
  plain.erase(std::remove(plain.begin(), plain.end(), '_'), plain.end());
  char* end = nullptr;
  const double number = std::strtod(plain.c_str(), &end);
  return end == plain.c_str() + plain.size() ? std::optional<double>(number) : std::nullopt;
}

Value truncated(double number, const Value& fallback) {
  if (!std::isfinite(number)) return fallback;
  if (std::fabs(number) >= 9.2e18) fail(Fault::value, "a whole number leaves the range of 64 bits");
  return Value::integer(static_cast<std::int64_t>(number));
}

Value int_filter(Machine&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("int", arguments, {"default", "base"});
  const Value fallback = parameters[0] ? *parameters[0] : Value::integer(0);
  require_defined(value);
  if (const auto number = value.as_integer()) return Value::integer(*number);
  if (const auto number = value.as_number()) return truncated(*number, fallback);
  const std::string* text = value.as_text();
  if (!text) return fallback;
  const std::int64_t base = parameters.integer(1, 10);
  if (base < 2 || base > 36) return fallback;
  if (const auto number = parse_integer(*text, static_cast<int>(base))) return Value::integer(*number);
  const auto number = parse_real(*text);
  return number ? truncated(*number, fallback) : fallback;
}

Value float_filter(Machine&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("float", arguments, {"default"});
  require_defined(value);
  if (const auto number = value.as_number()) return Value::real(*number);
  const auto number = value.as_text() ? parse_real(*value.as_text()) : std::nullopt;
  return number ? Value::real(*number) : parameters[0] ? *parameters[0] : Value::real(0);
}

Value abs_filter(Machine&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("abs", arguments, {});
  const Value number = positive(value);
  return *number.as_number() < 0 ? negative(number) : number;
}

Value round_filter(Machine&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("round", arguments, {"precision", "method"});
  const std::int64_t precision = parameters.integer(0, 0);
  const std::string method = parameters.text(1, "common");
  require_defined(value);
  const auto number = value.as_number();
  if (!number) fail(Fault::value, "type {} doesn't define __round__ method", type_name(value));
  if (method != "common" && method != "ceil" && method != "floor")
    fail(Fault::value, "method must be common, ceil or floor");
  if (precision < -300 || precision > 300) fail(Fault::value, "round's precision is out of range");
  const double power = std::pow(10.0, static_cast<double>(precision));
  if (method != "common")
    return Value::real((method == "ceil" ? std::ceil(*number * power) : std::floor(*number * power)) / power);
  if (value.as_integer() && precision >= 0) return Value::integer(*value.as_integer());
  if (!std::isfinite(*number)) return value;
  double rounded = 0;
  if (precision >= 0) {
    rounded = std::strtod(fmt::format("{:.{}f}", *number, precision).c_str(), nullptr);  // of the exact number
  } else {
    const double unit = std::pow(10.0, static_cast<double>(-precision));
    rounded = std::nearbyint(*number / unit) * unit;
  }
  return value.as_integer() ? Value::integer(static_cast<std::int64_t>(rounded)) : Value::real(rounded);
}

Value indent_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("indent", arguments, {"width", "first", "blank"});
  Budget& budget = machine.budget();
  std::string margin;
  if (parameters[0] && parameters[0]->as_text()) {
    margin = *parameters[0]->as_text();
  } else {
    const std::int64_t width = std::max<std::int64_t>(parameters.integer(0, 4), 0);
    budget.memory(static_cast<std::uint64_t>(width));
    margin.assign(static_cast<std::size_t>(width), ' ');
  }
  const bool blank = parameters.flag(2, false);
  Arguments none;
  const Value text = Value::text(to_str(value, budget) + "\n");
  const Value lines = find_text_method("splitlines")(machine, text, none);
  std::string out = parameters.flag(1, false) ? margin : "";
  const auto& list = lines.as_sequence()->items;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string& line = *list[i].as_text();
    budget.memory(margin.size() + line.size() + 1);
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !line.empty())) out += margin;
    out += line;
  }
  return Value::text(std::move(out), value.is_markup());
}

Value format_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  Budget& budget = machine.budget();
  if (!arguments.keyword.empty() && !arguments.positional.empty())
    fail(Fault::value, "can't handle positional and keyword arguments at the same time");
  Value given;
  if (arguments.keyword.empty()) {
    given = Value::sequence(Flavor::tuple, arguments.positional, budget);
  } else {
    Dict dict;
    for (const auto& [name, argument] : arguments.keyword) dict.set(Value::text(name), argument, budget);
    given = Value::dict(std::move(dict));
  }
  return Value::text(percent_format(to_str(value, budget), given, machine), value.is_markup());
}

Value wordcount_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  if (value.as_text()) machine.budget().memory(value.as_text()->size() * 4);
  const Parameters parameters("wordcount", arguments, {});
  std::int64_t count = 0;
  bool inside = false;
  for (const char32_t c : decode(to_str(value, machine.budget()))) {
    const bool word = c == U'_' || is_alphabetic(c) || is_numeric(c);
    count += word && !inside;
    inside = word;
  }
  return Value::integer(count);
}

std::string percent_encoded(std::string_view text, std::string_view safe) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (plain || safe.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Value urlencode_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  if (value.as_text()) machine.budget().memory(value.as_text()->size() * 4);
  const Parameters parameters("urlencode", arguments, {});
  Budget& budget = machine.budget();
  if (value.as_text() || (!value.as_dict() && !value.as_array()))
    return Value::text(percent_encoded(to_str(value, budget), "_.-~/"));
  const auto part = [&](const Value& one) {
    std::string text = percent_encoded(to_str(one, budget), "_.-~ ");
    std::replace(text.begin(), text.end(), ' ', '+');
    budget.memory(text.size());
    return text;
  };
  std::string out;
  const auto add = [&](const Value& key, const Value& one) {
    out += (out.empty() ? "" : "&") + part(key) + "=" + part(one);
  };
  if (const Dict* dict = value.as_dict()) {
    for (const auto& [key, one] : dict->entries()) add(key, one);
  } else {
    for (const Value& pair : value.as_array()->items) {
      const std::vector<Value> parts = elements(pair, budget);
      if (parts.size() != 2) fail(Fault::value, "urlencode needs pairs");
      add(parts[0], parts[1]);
    }
  }
  return Value::text(std::move(out));
}

Value truncate_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  if (value.as_text()) machine.budget().memory(value.as_text()->size() * 4);
  const Parameters parameters("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::u32string text = decode(to_str(value, machine.budget()));
  const std::u32string end = decode(parameters.text(2, "..."));
  const std::int64_t most = parameters.integer(0, 255),
                     leeway = parameters.unless_none(3) ? parameters.integer(3, 5) : 5;
  if (most < static_cast<std::int64_t>(end.size()) || leeway < 0) fail(Fault::value, "truncate's length is too small");
  if (static_cast<std::int64_t>(text.size()) <= most + leeway) return Value::text(encode(text), value.is_markup());
  std::u32string cut = text.substr(0, static_cast<std::size_t>(most) - end.size());
  if (!parameters.flag(1, false)) cut = cut.substr(0, cut.rfind(U' '));
  return Value::text(encode(cut + end), value.is_markup());
}

constexpr char kCenter[] = "center";

Value center_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("center", arguments, {"width"});
  Arguments given;
  given.positional = {Value::integer(parameters.integer(0, 80))};
  return text_filter<kCenter>(machine, value, given);
}

Value attr_filter(Machine& machine, const Value& value, const Arguments& arguments) {
  const Parameters parameters("attr", arguments, {"name"}, 1);
  const std::string& name = parameters.text(0);
  if (value.as_dict() && !method(value, name))  // attributes alone, no items
    return Value::undefined(fmt::format("'dict object' has no attribute '{}'", name));
  return attribute(value, name, machine.budget());
}

}  // namespace

Native find_scalar_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Native> table = {{"default", default_filter},
                                                                     {"d", default_filter},
                                                                     {"length", length_filter},
                                                                     {"count", length_filter},
                                                                     {"trim", text_filter<kStrip>},
                                                                     {"upper", text_filter<kUpper>},
                                                                     {"lower", text_filter<kLower>},
                                                                     {"capitalize", text_filter<kCapitalize>},
                                                                     {"title", title_filter},
                                                                     {"replace", replace_filter},
                                                                     {"string", string_filter},
                                                                     {"safe", safe_filter},
                                                                     {"escape", escape_filter<false>},
                                                                     {"e", escape_filter<false>},
                                                                     {"forceescape", escape_filter<true>},
                                                                     {"tojson", tojson_filter},
                                                                     {"int", int_filter},
                                                                     {"float", float_filter},
                                                                     {"abs", abs_filter},
                                                                     {"round", round_filter},
                                                                     {"indent", indent_filter},
                                                                     {"format", format_filter},
                                                                     {"wordcount", wordcount_filter},
                                                                     {"urlencode", urlencode_filter},
                                                                     {"truncate", truncate_filter},
                                                                     {"center", center_filter},
                                                                     {"attr", attr_filter}};
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace lorica::jinja
