// Python's three ways to format: "%s" % value, "{}".format(value), and strftime.
// Sources: https://docs.python.org/3/library/string.html#formatspec,
// https://docs.python.org/3/library/stdtypes.html#printf-style-string-formatting
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>

#include "jinja/machine.hpp"
#include "jinja/operations.hpp"
#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

struct Specification {
  std::string fill = " ";
  char align = '\0', sign = '\0', type = '\0';
  bool alternate = false, zero = false, comma = false, underscore = false;
  std::int64_t width = 0, precision = -1;
};

constexpr std::int64_t kMaxWidth = 100'000;

std::int64_t take_number(std::string_view& text) {
  std::int64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || number > kMaxWidth) fail(Fault::value, "a bad width or precision in a format");
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  return number;
}

bool starts_digit(std::string_view text) {
  return !text.empty() && text[0] >= '0' && text[0] <= '9';
}
bool take(std::string_view& text, char c) {
  return text.starts_with(c) && (text.remove_prefix(1), true);
}

Specification parse_specification(std::string_view text) {
  Specification result;
  const std::u32string characters = decode(text);
  const auto is_align = [](char32_t c) { return c == U'<' || c == U'>' || c == U'^' || c == U'='; };
  if (characters.size() > 1 && is_align(characters[1])) {
    result.fill = encode(characters.substr(0, 1));
    result.align = static_cast<char>(characters[1]);
    text.remove_prefix(result.fill.size() + 1);
  } else if (!characters.empty() && is_align(characters[0])) {
    result.align = static_cast<char>(characters[0]);
    text.remove_prefix(1);
  }
  if (!text.empty() && (text[0] == '+' || text[0] == '-' || text[0] == ' ')) {
    result.sign = text[0];
    text.remove_prefix(1);
  }
  result.alternate = take(text, '#');
  if (take(text, '0') && result.align == '\0') {
    result.fill = "0";
    result.align = '=';
  }
  if (starts_digit(text)) result.width = take_number(text);
  result.comma = take(text, ',');
  result.underscore = take(text, '_');
  if (take(text, '.')) result.precision = take_number(text);
  if (text.size() > 1) fail(Fault::value, "invalid format specifier");
  if (!text.empty()) result.type = text[0];
  return result;
}

std::string pad(std::string prefix, std::string body, const Specification& spec, char fallback, Budget& budget) {
  const auto length = static_cast<std::int64_t>(text_length(prefix) + text_length(body));
  const std::int64_t space = std::max<std::int64_t>(spec.width - length, 0);
  const char align = spec.align ? spec.align : fallback;
  const std::int64_t left = align == '<' ? 0 : align == '^' ? space / 2 : space;
  budget.memory(static_cast<std::uint64_t>(space) * spec.fill.size() + body.size());
  std::string out = align == '=' ? prefix : "";
  for (std::int64_t i = 0; i < left; ++i) out += spec.fill;
  out += (align == '=' ? "" : prefix) + body;
  for (std::int64_t i = left; i < space; ++i) out += spec.fill;
  return out;
}

/// Digits in groups of three.
std::string grouped(const std::string& digits, char mark) {
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string out;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % 3 == 0) out += mark;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string real_digits(double value, const Specification& spec) {
  const char type = spec.type ? spec.type : 'g';
  const int precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  if (std::isinf(value)) return type < 'a' ? "INF" : "inf";
  if (std::isnan(value)) return type < 'a' ? "NAN" : "nan";
  switch (type) {
    case 'e':
      return fmt::format("{:.{}e}", value, precision);
    case 'E':
      return fmt::format("{:.{}E}", value, precision);
    case 'f':
    case 'F':
      return fmt::format("{:.{}f}", value, precision);
    case '%':
      return fmt::format("{:.{}f}%", value * 100, precision);
    case 'G':
      return fmt::format("{:.{}G}", value, std::max(precision, 1));
    default:
      break;
  }
  if (!spec.type && spec.precision < 0) return float_repr(value);
  return fmt::format("{:.{}g}", value, std::max(precision, 1));
}

std::string integer_digits(std::uint64_t size, const Specification& spec, std::string& prefix) {
  const std::string_view marks = "xXob";
  if (spec.alternate && marks.find(spec.type) != std::string_view::npos) prefix += std::string("0") + spec.type;
  switch (spec.type) {
    case 'x':
      return fmt::format("{:x}", size);
    case 'X':
      return fmt::format("{:X}", size);
    case 'o':
      return fmt::format("{:o}", size);
    case 'b':
      return fmt::format("{:b}", size);
    default:
      return fmt::format("{}", size);
  }
}

std::string format_number(const Value& value, const Specification& spec, Budget& budget) {
  const bool real =
      value.get<double>() || (spec.type && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos);
  if (spec.type && std::string_view(real ? "eEfFgGn%" : "dnxXobc").find(spec.type) == std::string_view::npos)
    fail(Fault::value, "Unknown format code '{}' for object of type '{}'", spec.type, type_name(value));
  const double number = *value.as_number();
  const bool minus = real ? std::signbit(number) : *value.as_integer() < 0;
  std::string prefix = minus ? "-" : spec.sign == '+' || spec.sign == ' ' ? std::string(1, spec.sign) : "";
  std::string digits;
  if (real) {
    digits = real_digits(std::fabs(number), spec);
  } else {
    const auto bits = static_cast<std::uint64_t>(*value.as_integer());
    digits = integer_digits(minus ? 0 - bits : bits, spec, prefix);
  }
  if (spec.comma || spec.underscore) digits = grouped(digits, spec.comma ? ',' : '_');
  return pad(std::move(prefix), std::move(digits), spec, '>', budget);
}

/// The value that a %-format's place takes: in order, or by name from a dict.
class PercentValues {
 public:
  explicit PercentValues(const Value& value) : value_(value) {
    const Sequence* sequence = value.as_sequence();
    if (sequence && sequence->flavor == Flavor::tuple) tuple_ = sequence;
  }
  const Value& next() {
    const std::size_t count = tuple_ ? tuple_->items.size() : 1;
    if (used_ >= count) fail(Fault::value, "not enough arguments for format string");
    ++used_;
    return tuple_ ? tuple_->items[used_ - 1] : value_;
  }
  const Value& named(std::string_view name) const {
    const Dict* dict = value_.as_dict();
    if (!dict) fail(Fault::value, "format requires a mapping");
    const Value* found = dict->find(name);
    if (!found) fail(Fault::value, "the format's '{}' is missing", name);
    return *found;
  }
  void finish(bool by_name) const {
    if (tuple_ ? used_ < tuple_->items.size() : used_ == 0 && !by_name && !value_.as_dict())
      fail(Fault::value, "not all arguments converted during string formatting");
  }

 private:
  const Value& value_;
  const Sequence* tuple_ = nullptr;
  std::size_t used_ = 0;
};

std::string percent_one(const Value& value, Specification spec, Budget& budget) {
  const char type = spec.type;
  if (type == 's' || type == 'r' || type == 'a') {
    std::string text = type == 's' ? to_str(value, budget) : repr(value, budget);
    if (spec.precision >= 0) text = encode(decode(text).substr(0, static_cast<std::size_t>(spec.precision)));
    spec.fill = " ";
    if (spec.align == '=') spec.align = '>';
    return pad("", std::move(text), spec, '>', budget);
  }
  if (type == 'c') {
    if (const std::string* text = value.as_text(); text && text_length(*text) == 1)
      return pad("", *text, spec, '>', budget);
    fail(Fault::value, "%c requires a single character");
  }
  require_defined(value);
  if (!value.as_number()) fail(Fault::value, "%{} format: a number is required, not {}", type, type_name(value));
  if (type == 'd' || type == 'i' || type == 'u') {
    spec.type = 'd';
    const double number = *value.as_number();
    if (value.get<double>() && !(std::fabs(number) < 9e18)) fail(Fault::value, "%d needs a number of at most 64 bits");
    const Value whole = value.as_integer() ? value : Value::integer(static_cast<std::int64_t>(number));
    return format_number(whole, spec, budget);
  }
  return format_number(value, spec, budget);
}

Specification percent_specification(std::string_view& text, PercentValues& values) {
  Specification spec;
  bool zero = false;
  for (; !text.empty() && std::string_view("-+ #0").find(text[0]) != std::string_view::npos; text.remove_prefix(1)) {
    if (text[0] == '-') spec.align = '<';
    if (text[0] == '+' || (text[0] == ' ' && !spec.sign)) spec.sign = text[0];
    if (text[0] == '#') spec.alternate = true;
    zero = zero || text[0] == '0';
  }
  if (zero && !spec.align) {
    spec.align = '=';
    spec.fill = "0";
  }
  const auto number = [&]() -> std::int64_t {
    if (!take(text, '*')) return starts_digit(text) ? take_number(text) : 0;
    const auto given = values.next().as_integer();
    if (!given || *given < 0 || *given > kMaxWidth) fail(Fault::value, "* wants a whole number");
    return *given;
  };
  spec.width = number();
  if (take(text, '.')) spec.precision = number();
  while (!text.empty() && (text[0] == 'l' || text[0] == 'h' || text[0] == 'L')) text.remove_prefix(1);
  if (text.empty() || std::string_view("srdiufFeEgGxXoca").find(text[0]) == std::string_view::npos)
    fail(Fault::value, "an incomplete or unknown place in a % format");
  spec.type = text[0];
  text.remove_prefix(1);
  return spec;
}

}  // namespace

std::string format_value(const Value& value, const std::string& specification, Budget& budget) {
  if (specification.empty()) return to_str(value, budget);
  require_defined(value);
  const Specification spec = parse_specification(specification);
  if (value.as_number() && !(value.get<bool>() && !spec.type)) return format_number(value, spec, budget);
  if (!value.as_text() && !value.get<bool>())
    fail(Fault::value, "unsupported format string passed to {}.__format__", type_name(value));
  if (spec.type && spec.type != 's') fail(Fault::value, "Unknown format code '{}' for object of type 'str'", spec.type);
  if (spec.align == '=') fail(Fault::value, "'=' alignment not allowed in string format specifier");
  std::string text = to_str(value, budget);
  if (spec.precision >= 0) text = encode(decode(text).substr(0, static_cast<std::size_t>(spec.precision)));
  return pad("", std::move(text), spec, '<', budget);
}

std::string percent_format(const std::string& format, const Value& value, Machine& machine) {
  std::string out;
  std::string_view text = format;
  PercentValues values(value);
  bool by_name = false;
  while (!text.empty()) {
    const std::size_t place = text.find('%');
    out += text.substr(0, place);
    if (place == std::string_view::npos) break;
    text.remove_prefix(place + 1);
    if (take(text, '%')) {
      out += '%';
      continue;
    }
    const Value* chosen = nullptr;
    if (take(text, '(')) {
      const std::size_t end = text.find(')');
      if (end == std::string_view::npos) fail(Fault::value, "incomplete format key");
      chosen = &values.named(text.substr(0, end));
      text.remove_prefix(end + 1);
      by_name = true;
    }
    const Specification spec = percent_specification(text, values);
    out += percent_one(chosen ? *chosen : values.next(), spec, machine.budget());
    machine.budget().memory(out.size() / 16 + 16);
  }
  values.finish(by_name);
  return out;
}

namespace {

/// {name.attribute[item]!r:spec} without its braces.
std::string brace_field(Machine& machine, std::string_view field, const Arguments& arguments, std::size_t& automatic) {
  std::string specification;
  if (const std::size_t colon = field.find(':'); colon != std::string_view::npos) {
    specification = field.substr(colon + 1);
    field = field.substr(0, colon);
  }
  char conversion = 's';
  bool converts = false;
  if (const std::size_t mark = field.find('!'); mark != std::string_view::npos && mark + 2 == field.size()) {
    conversion = field[mark + 1];
    converts = true;
    field = field.substr(0, mark);
  }
  const std::size_t end = std::min(field.find_first_of(".["), field.size());
  const std::string_view name = field.substr(0, end);
  field.remove_prefix(end);
  const Value* found = nullptr;
  if (name.empty() || starts_digit(name)) {
    std::string_view digits = name;
    const std::size_t place = name.empty() ? automatic++ : static_cast<std::size_t>(take_number(digits));
    if (place < arguments.positional.size()) found = &arguments.positional[place];
  } else {
    for (const auto& [keyword, value] : arguments.keyword) found = keyword == name ? &value : found;
  }
  if (!found) fail(Fault::value, "format() has no argument for '{{{}}}'", name);
  Value value = *found;
  while (!field.empty()) {
    const bool bracket = take(field, '[');
    if (!bracket && !take(field, '.')) fail(Fault::value, "a bad field in a format");
    const std::size_t stop = std::min(field.find_first_of(bracket ? "]" : ".["), field.size());
    const std::string part(field.substr(0, stop));
    std::string_view digits = part;
    value = bracket ? item(value, starts_digit(part) ? Value::integer(take_number(digits)) : Value::text(part),
                           machine.budget())
                    : attribute(value, part, machine.budget());
    require_defined(value);
    field.remove_prefix(std::min(stop + (bracket ? 1 : 0), field.size()));
  }
  if (converts)
    value = Value::text(conversion == 'r' ? repr(value, machine.budget()) : to_str(value, machine.budget()));
  return format_value(value, specification, machine.budget());
}

}  // namespace

std::string brace_format(Machine& machine, const std::string& format, const Arguments& arguments) {
  std::string out;
  std::string_view text = format;
  std::size_t automatic = 0;
  while (!text.empty()) {
    const char c = text[0];
    text.remove_prefix(1);
    if ((c == '{' || c == '}') && take(text, c)) {
      out += c;
    } else if (c == '{') {
      const std::size_t end = text.find('}');
      if (end == std::string_view::npos || text.substr(0, end).find('{') != std::string_view::npos)
        fail(Fault::value, "a format's '{{' isn't closed, or stands inside another");
      out += brace_field(machine, text.substr(0, end), arguments, automatic);
      text.remove_prefix(end + 1);
    } else if (c == '}') {
      fail(Fault::value, "Single '}}' encountered in format string");
    } else {
      out += c;
    }
    machine.budget().memory(1);
  }
  return out;
}

std::string format_time(const std::string& format, std::chrono::system_clock::time_point time, Budget& budget) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count() % 1'000'000;
  std::tm local = {};
  localtime_r(&seconds, &local);
  std::string out;
  std::string_view text = format;
  while (!text.empty()) {
    const char c = text[0];
    text.remove_prefix(1);
    if (c != '%' || text.empty()) {
      out += c;
      continue;
    }
    std::string directive = "%";
    if (std::string_view("-_0^#").find(text[0]) != std::string_view::npos && text.size() > 1) {
      directive += text[0];
      text.remove_prefix(1);
    }
    const char kind = text[0];
    text.remove_prefix(1);
    if (kind == 'f') {
      out += fmt::format("{:06}", micros);
    } else if (std::string_view("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyY%").find(kind) != std::string_view::npos) {
      directive += kind;
      std::array<char, 256> buffer = {};
      out.append(buffer.data(), std::strftime(buffer.data(), buffer.size(), directive.c_str(), &local));
    } else if (kind != 'z' && kind != 'Z') {  // those are empty for a time without a zone
      fail(Fault::value, "strftime_now doesn't know %{}", kind);
    }
    budget.memory(64);
  }
  return out;
}

}  // namespace lorica::jinja
