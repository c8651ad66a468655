#include "config/value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.hpp"
#include "base/strings.hpp"

namespace lorica::config {
namespace {

template <class... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
  throw BadValue(fmt::format(format, std::forward<Args>(args)...));
}

template <class T>
std::optional<T> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// ["a", "b"] or a,b or a; a regex keeps its commas.
std::vector<std::string> split_list(const Option& option, std::string_view text) {
  const bool regex =
      option.name == "lora_target_modules" && text.find_first_of("()[]\\^$|*+?{}") != std::string_view::npos;
  if (text.empty()) return {};
  if (const auto inner = trim(text); option.commas && inner.starts_with("[\"") && inner.ends_with("\"]")) {
    text = inner.substr(1, inner.size() - 2);
  } else if (!option.commas || regex) {
    return {std::string(text)};
  }
  std::vector<std::string> items;
  for (const auto& part : split(text, ',')) {
    auto item = trim(part);
    if (item.size() >= 2 && (item.front() == '"' || item.front() == '\'') && item.back() == item.front()) {
      item = item.substr(1, item.size() - 2);
    }
    if (!item.empty()) items.emplace_back(item);
  }
  return items;
}

std::string toml_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        result += "\\\"";
        break;
      case '\\':
        result += "\\\\";
        break;
      case '\n':
        result += "\\n";
        break;
      case '\t':
        result += "\\t";
        break;
      case '\r':
        result += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          result += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
        } else {
          result += c;
        }
    }
  }
  return result + '"';
}

std::string choice_names(const Option& option, bool built) {
  std::vector<std::string> names;
  for (const auto& choice : option.choices) {
    if (choice.built == built) names.push_back(choice.name);
  }
  return join(names, ", ");
}

/// The canonical name of a word, checked.
std::string check_choice(const Option& option, const std::string& word) {
  const auto wanted = to_lower(word);
  for (const auto& choice : option.choices) {
    if (to_lower(choice.name) != wanted) continue;
    if (!choice.built) bad("'{}' is not built yet; use one of: {}", choice.name, choice_names(option, true));
    if (option.field.type != Type::choice) return choice.name;
    const auto same = [&](const Choice& other) { return other.built && other.value == choice.value; };
    return std::find_if(option.choices.begin(), option.choices.end(), same)->name;
  }
  std::vector<std::string> names;
  for (const auto& choice : option.choices) names.push_back(choice.name);
  const auto near = nearest_name(word, names);
  bad("'{}' is not accepted{}; use one of: {}", word, near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near),
      choice_names(option, true));
}

std::string number_text(double value) {
  auto text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

}  // namespace

std::optional<bool> parse_bool(std::string_view text) {
  const auto word = to_lower(trim(text));
  for (const char* yes : {"y", "yes", "t", "true", "on", "1"}) {
    if (word == yes) return true;
  }
  for (const char* no : {"n", "no", "f", "false", "off", "0"}) {
    if (word == no) return false;
  }
  return std::nullopt;
}

std::optional<std::int64_t> whole_number(double value) {
  constexpr double kMost = 9007199254740992;  // 2^53: beyond it doubles skip whole numbers
  if (!(std::abs(value) <= kMost) || std::trunc(value) != value) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

std::vector<std::int64_t> parse_layers(std::string_view text) {
  constexpr std::int64_t kMostLayers = 100'000;
  std::vector<std::int64_t> numbers;
  if (trim(text).empty()) return numbers;
  for (const auto& part : split(text, ',')) {
    const auto ends = split(part, ':');
    const auto first = parse_number<std::int64_t>(trim(ends.front()));
    const auto last = parse_number<std::int64_t>(trim(ends.back()));
    if (ends.size() > 2 || !first || !last || *first < 0 || *last >= kMostLayers) {
      bad("'{}' is not a layer number or a range such as 0:31", part);
    }
    if (*last < *first) bad("'{}' is an empty range: write the lower layer first", part);
    for (auto layer = *first; layer <= *last; ++layer) numbers.push_back(layer);
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

std::string layers_text(const std::vector<std::int64_t>& layers) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t end = i;
    while (end + 1 < layers.size() && layers[end + 1] == layers[end] + 1) ++end;
    parts.push_back(end == i ? fmt::format("{}", layers[i]) : fmt::format("{}:{}", layers[i], layers[end]));
    i = end + 1;
  }
  return join(parts, ",");
}

std::int64_t parse_size(std::string_view text) {
  const auto whole = trim(text);
  const auto digits = whole.find_first_not_of("0123456789.");
  const auto amount = parse_number<double>(whole.substr(0, digits));
  const auto unit = digits == std::string_view::npos ? "" : to_lower(trim(whole.substr(digits)));
  static const std::vector<std::pair<std::string, double>> units = {
      {"", 1},      {"b", 1},        {"kb", 1e3},        {"mb", 1e6},           {"gb", 1e9},
      {"tb", 1e12}, {"kib", 1024.0}, {"mib", 1048576.0}, {"gib", 1073741824.0}, {"tib", 1099511627776.0},
  };
  for (const auto& [name, factor] : units) {
    if (amount && unit == name && *amount * factor < 9e18)
      return static_cast<std::int64_t>(std::llround(*amount * factor));
  }
  bad("'{}' is not a size such as 5GB, 512MiB or a number of bytes", text);
}

std::string size_text(std::int64_t bytes) {
  for (const auto& [name, factor] : {std::pair<const char*, std::int64_t>{"GB", 1'000'000'000}, {"MB", 1'000'000}}) {
    if (bytes > 0 && bytes % factor == 0) return fmt::format("{}{}", bytes / factor, name);
  }
  return fmt::format("{}", bytes);
}

Value parse_value(const Option& option, std::string_view text) {
  switch (option.field.type) {
    case Type::boolean:
      if (const auto flag = parse_bool(text)) return *flag;
      bad("'{}' is neither true nor false", text);
    case Type::integer:
      if (const auto number = parse_number<std::int64_t>(trim(text))) return check_value(option, *number);
      if (const auto real = parse_number<double>(trim(text))) {
        if (const auto number = whole_number(*real)) return check_value(option, *number);
      }
      bad("'{}' is not {}", text, type_phrase(option));
    case Type::number:
      if (const auto number = parse_number<double>(trim(text))) return check_value(option, *number);
      bad("'{}' is not {}", text, type_phrase(option));
    case Type::list:
      return check_value(option, split_list(option, text));
    case Type::size:
      return check_value(option, parse_size(text));
    case Type::layers:
      return layers_text(parse_layers(text));
    case Type::switch_or_path:
      if (const auto flag = parse_bool(text)) return std::string(*flag ? "latest" : "");
      return std::string(text);
    case Type::text:
    case Type::choice:
    case Type::any:
      return check_value(option, std::string(text));
  }
  raise<Error>("internal error: unknown type of option {}", option.name);
}

Value check_value(const Option& option, Value value) {
  if (!option.choices.empty()) {
    if (auto* text = std::get_if<std::string>(&value)) return check_choice(option, *text);
    if (auto* number = std::get_if<std::int64_t>(&value)) check_choice(option, fmt::format("{}", *number));
    if (auto* items = std::get_if<std::vector<std::string>>(&value)) {
      for (auto& item : *items) item = check_choice(option, item);
    }
  }
  const auto* whole = std::get_if<std::int64_t>(&value);
  const auto* real = std::get_if<double>(&value);
  if (real != nullptr && !std::isfinite(*real)) bad("'{}' is not a finite number", *real);
  if ((whole != nullptr && !option.range.contains(static_cast<double>(*whole))) ||
      (real != nullptr && !option.range.contains(*real))) {
    bad("{} is out of range: it must be {}", whole ? fmt::format("{}", *whole) : fmt::format("{}", *real),
        option.range.text());
  }
  return value;
}

std::string toml_text(const Option& option, const Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    return option.field.type == Type::size ? toml_string(size_text(*number)) : fmt::format("{}", *number);
  }
  if (const auto* number = std::get_if<double>(&value)) return number_text(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return toml_string(*text);
  if (const auto* items = std::get_if<std::vector<std::string>>(&value)) {
    std::vector<std::string> parts;
    for (const auto& item : *items) parts.push_back(toml_string(item));
    return "[" + join(parts, ", ") + "]";
  }
  return "";
}

std::string plain_text(const Option& option, const Value& value) {
  if (std::holds_alternative<std::monostate>(value)) return "none";
  if (const auto* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (!text->empty()) return *text;
    return option.field.type == Type::switch_or_path ? "false" : "none";
  }
  if (const auto* items = std::get_if<std::vector<std::string>>(&value)) {
    return items->empty() ? "none" : join(*items, ",");
  }
  if (option.field.type == Type::size) return size_text(std::get<std::int64_t>(value));
  return toml_text(option, value);
}

std::string type_phrase(const Option& option) {
  switch (option.field.type) {
    case Type::boolean:
      return "true or false";
    case Type::integer:
      return "a whole number";
    case Type::number:
      return "a number";
    case Type::text:
      return "a string";
    case Type::choice:
      return "a string";
    case Type::list:
      return "a string or a list of strings";
    case Type::layers:
      return "a layer number, a string such as \"0:31\" or a list of layer numbers";
    case Type::size:
      return "a number of bytes or a string such as \"5GB\"";
    case Type::switch_or_path:
      return "true, false or a path";
    case Type::any:
      return "a value";
  }
  raise<Error>("internal error: unknown type of option {}", option.name);
}

std::string type_word(const Option& option) {
  switch (option.field.type) {
    case Type::boolean:
      return "bool";
    case Type::integer:
      return "int";
    case Type::number:
      return "float";
    case Type::text:
      return option.choices.empty() ? "string" : "choice";
    case Type::choice:
      return "choice";
    case Type::list:
      return "list";
    case Type::layers:
      return "layers";
    case Type::size:
      return "size";
    case Type::switch_or_path:
      return "bool or path";
    case Type::any:
      return "any";
  }
  raise<Error>("internal error: unknown type of option {}", option.name);
}

std::string accepted_text(const Option& option) {
  if (!option.choices.empty()) {
    auto text = choice_names(option, true);
    const auto later = choice_names(option, false);
    if (!later.empty()) text += fmt::format("{}not built yet: {}", text.empty() ? "" : "; ", later);
    return text;
  }
  return option.range.text();
}

}  // namespace lorica::config
