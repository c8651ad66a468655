// The methods of strings. Source: https://docs.python.org/3/library/stdtypes.html#string-methods
#include <algorithm>
#include <unordered_map>

#include "jinja/machine.hpp"
#include "jinja/operations.hpp"
#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

const std::string& text_of(const Value& self) {
  return *self.as_text();
}

Value like(const Value& self, std::string text) {
  return Value::text(std::move(text), self.is_markup());
}

template <std::string (*change)(std::string_view)>
Value changed(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("str method", arguments, {});
  machine.budget().memory(4 * text_of(self).size());
  return like(self, change(text_of(self)));
}

template <bool left, bool right>
Value stripped(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("strip", arguments, {"chars"});
  std::optional<std::u32string> characters;
  if (parameters.unless_none(0)) characters = decode(parameters.text(0));
  machine.budget().memory(text_of(self).size());
  machine.budget().step(text_of(self).size() * (characters ? characters->size() : 1) / 64);
  return like(self, std::string(strip(text_of(self), characters, left, right)));
}

/// At white space, at most `most` times (negative: no bound).
std::vector<std::string_view> split_words(std::string_view text, std::int64_t most, bool from_right) {
  std::vector<std::string_view> words;
  text = strip(text, std::nullopt, !from_right, from_right);
  while (!text.empty() && (most < 0 || static_cast<std::int64_t>(words.size()) < most)) {
    std::size_t place = from_right ? text.size() : 0;
    const auto at_space = [&]() {
      const std::string_view rest = from_right ? text.substr(0, place) : text.substr(place);
      return strip(rest, std::nullopt, !from_right, from_right).size() != rest.size();
    };
    while (from_right ? place > 0 : place < text.size()) {
      if (at_space()) break;
      place = from_right ? place - 1 : place + 1;
    }
    words.push_back(from_right ? text.substr(place) : text.substr(0, place));
    text = strip(from_right ? text.substr(0, place) : text.substr(place), std::nullopt, !from_right, from_right);
  }
  if (!text.empty()) words.push_back(text);
  return words;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, std::int64_t most,
                                       bool from_right) {
  if (separator.empty()) fail(Fault::value, "empty separator");
  std::vector<std::string_view> parts;
  while (most < 0 || static_cast<std::int64_t>(parts.size()) < most) {
    const std::size_t place = from_right ? text.rfind(separator) : text.find(separator);
    if (place == std::string_view::npos) break;
    parts.push_back(from_right ? text.substr(place + separator.size()) : text.substr(0, place));
    text = from_right ? text.substr(0, place) : text.substr(place + separator.size());
  }
  parts.push_back(text);
  return parts;
}

Value listed(const Value& self, const std::vector<std::string_view>& parts, Budget& budget) {
  budget.memory(text_of(self).size() + parts.size() * (sizeof(Value) + 48));
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(like(self, std::string(part)));
  return Value::list(std::move(items), budget);
}

template <bool from_right>
Value split(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("split", arguments, {"sep", "maxsplit"});
  const std::int64_t most = parameters.integer(1, -1);
  machine.budget().step(text_of(self).size() / 4);
  auto parts = parameters.unless_none(0) ? split_at(text_of(self), parameters.text(0), most, from_right)
                                         : split_words(text_of(self), most, from_right);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return listed(self, parts, machine.budget());
}

Value splitlines(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("splitlines", arguments, {"keepends"});
  const bool keep = parameters.flag(0, false);
  const std::u32string text = decode(text_of(self));
  std::vector<Value> lines;
  machine.budget().memory(text.size() * 8);
  for (std::size_t start = 0, end = 0; start < text.size(); start = end) {
    while (end < text.size() &&
           std::u32string_view(U"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029").find(text[end]) == std::u32string_view::npos)
      ++end;
    const std::size_t stop = end;
    if (end < text.size()) end += text[end] == U'\r' && end + 1 < text.size() && text[end + 1] == U'\n' ? 2 : 1;
    lines.push_back(like(self, encode(std::u32string_view(text).substr(start, (keep ? end : stop) - start))));
  }
  return Value::list(std::move(lines), machine.budget());
}

template <bool at_end>
Value begins(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters(at_end ? "endswith" : "startswith", arguments, {"prefix", "start", "end"}, 1);
  Value part = self;
  if (parameters[1])
    part = slice(self, *parameters[1], parameters[2] ? *parameters[2] : Value(), Value(), machine.budget());
  const std::string_view text = text_of(part);
  const auto fits = [&](const Value& candidate) {
    require_defined(candidate);
    if (!candidate.as_text()) fail(Fault::value, "startswith and endswith need a string, not {}", type_name(candidate));
    return at_end ? text.ends_with(*candidate.as_text()) : text.starts_with(*candidate.as_text());
  };
  const Sequence* tuple = parameters[0]->as_sequence();
  if (!tuple || tuple->flavor != Flavor::tuple) return Value::boolean(fits(*parameters[0]));
  return Value::boolean(std::any_of(tuple->items.begin(), tuple->items.end(), fits));
}

std::string replaced(const std::string& text, const std::string& from, const std::string& to, std::int64_t most,
                     Budget& budget) {
  std::string out;
  std::size_t at = 0;
  for (std::int64_t count = 0; most < 0 || count < most; ++count) {
    std::size_t place = 0;
    if (from.empty()) {  // before each character, and at the end
      if (count > 0 && at >= text.size()) break;
      place = count == 0 ? 0 : at + 1;
      while (place < text.size() && count > 0 && (static_cast<unsigned char>(text[place]) & 0xC0U) == 0x80U) ++place;
    } else {
      place = text.find(from, at);
    }
    if (place == std::string::npos || place > text.size()) break;
    budget.memory(place - at + to.size() + 8);
    out.append(text, at, place - at).append(to);
    at = place + from.size();
  }
  budget.memory(text.size() - at);
  return out.append(text, at, std::string::npos);
}

Value replace(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("replace", arguments, {"old", "new", "count"}, 2);
  return like(self, replaced(text_of(self), parameters.text(0), parameters.text(1), parameters.integer(2, -1),
                             machine.budget()));
}

/// Where `what` stands, in characters; -1 if nowhere.
std::int64_t place_of(Machine& machine, const Value& self, const Parameters& parameters, bool from_right) {
  const std::u32string text = decode(text_of(self)), what = decode(parameters.text(0));
  const auto size = static_cast<std::int64_t>(text.size());
  const auto bound = [size](std::int64_t at) { return at < 0 ? std::max<std::int64_t>(at + size, 0) : at; };
  const std::int64_t start = bound(parameters.integer(1, 0)), end = std::min(bound(parameters.integer(2, size)), size);
  machine.budget().step(text.size() / 8);
  if (start > end) return -1;
  const std::u32string_view part(text.data() + start, static_cast<std::size_t>(end - start));
  const std::size_t place = from_right ? part.rfind(what) : part.find(what);
  return place == std::u32string_view::npos ? -1 : static_cast<std::int64_t>(place) + start;
}

template <bool from_right, bool must>
Value find(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("find", arguments, {"sub", "start", "end"}, 1);
  const std::int64_t place = place_of(machine, self, parameters, from_right);
  if (must && place < 0) fail(Fault::value, "substring not found");
  return Value::integer(place);
}

Value count(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("count", arguments, {"sub", "start", "end"}, 1);
  Value part = self;
  if (parameters[1])
    part = slice(self, *parameters[1], parameters[2] ? *parameters[2] : Value(), Value(), machine.budget());
  const std::string& what = parameters.text(0);
  if (what.empty()) return Value::integer(static_cast<std::int64_t>(text_length(text_of(part))) + 1);
  machine.budget().step(text_of(part).size() / 8);
  return Value::integer(static_cast<std::int64_t>(split_at(text_of(part), what, -1, false).size()) - 1);
}

template <bool at_end>
Value remove_affix(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("removeprefix", arguments, {"prefix"}, 1);
  std::string_view text = text_of(self);
  const std::string& affix = parameters.text(0);
  machine.budget().memory(text.size());
  if (at_end && text.ends_with(affix)) text.remove_suffix(affix.size());
  if (!at_end && text.starts_with(affix)) text.remove_prefix(affix.size());
  return like(self, std::string(text));
}

Value join_method(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("join", arguments, {"iterable"}, 1);
  const std::vector<Value> parts = elements(*parameters[0], machine.budget());
  for (const Value& part : parts) {
    require_defined(part);
    if (!part.as_text()) fail(Fault::value, "sequence item: expected str instance, {} found", type_name(part));
  }
  return like(self, *join(parts, text_of(self), machine.budget()).as_text());
}

Value format_method(Machine& machine, const Value& self, const Arguments& arguments) {
  return like(self, brace_format(machine, text_of(self), arguments));
}

template <bool from_right>
Value partition(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("partition", arguments, {"sep"}, 1);
  const std::string& text = text_of(self);
  const std::string& separator = parameters.text(0);
  if (separator.empty()) fail(Fault::value, "empty separator");
  const std::size_t place = from_right ? text.rfind(separator) : text.find(separator);
  machine.budget().memory(text.size() + 3 * sizeof(Value));
  std::vector<Value> parts;
  if (place == std::string::npos) {
    parts = {like(self, from_right ? "" : text), like(self, ""), like(self, from_right ? text : "")};
  } else {
    parts = {like(self, text.substr(0, place)), like(self, separator),
             like(self, text.substr(place + separator.size()))};
  }
  return Value::sequence(Flavor::tuple, std::move(parts), machine.budget());
}

/// Padding: how much goes to the left of the whole.
template <char align>
Value padded(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("center", arguments, {"width", "fillchar"}, 1);
  const std::string fill = parameters.text(1, " ");
  if (text_length(fill) != 1) fail(Fault::value, "the fill character must be exactly one character long");
  const auto length = static_cast<std::int64_t>(text_length(text_of(self)));
  const std::int64_t width = parameters.integer(0, 0);
  if (width <= length) return self;
  const std::int64_t space = width - length;
  const std::int64_t left = align == '<' ? 0 : align == '>' ? space : space / 2 + (space & width & 1);
  machine.budget().memory(static_cast<std::uint64_t>(space) * fill.size() + text_of(self).size());
  std::string out;
  for (std::int64_t i = 0; i < left; ++i) out += fill;
  out += text_of(self);
  for (std::int64_t i = left; i < space; ++i) out += fill;
  return like(self, std::move(out));
}

Value zfill(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("zfill", arguments, {"width"}, 1);
  std::string text = text_of(self);
  const std::int64_t missing = parameters.integer(0, 0) - static_cast<std::int64_t>(text_length(text));
  if (missing <= 0) return self;
  machine.budget().memory(static_cast<std::uint64_t>(missing) + text.size());
  const bool sign = text.starts_with('-') || text.starts_with('+');
  text.insert(sign ? 1 : 0, static_cast<std::size_t>(missing), '0');
  return like(self, std::move(text));
}

template <bool (*belongs)(char32_t)>
Value all_characters(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("str method", arguments, {});
  machine.budget().step(text_of(self).size() / 8);
  const std::u32string text = decode(text_of(self));
  return Value::boolean(!text.empty() && std::all_of(text.begin(), text.end(), belongs));
}

bool is_alphanumeric(char32_t c) {
  return is_alphabetic(c) || is_numeric(c);
}

template <bool upper_case>
Value cased(Machine& machine, const Value& self, const Arguments& arguments) {
  const Parameters parameters("str method", arguments, {});
  machine.budget().step(text_of(self).size() / 8);
  const std::u32string text = decode(text_of(self));
  const bool other = std::any_of(text.begin(), text.end(), upper_case ? is_lower : is_upper);
  return Value::boolean(!other && std::any_of(text.begin(), text.end(), upper_case ? is_upper : is_lower));
}

}  // namespace

Native find_text_method(std::string_view name) {
  static const std::unordered_map<std::string_view, Native> table = {{"upper", changed<upper>},
                                                                     {"lower", changed<lower>},
                                                                     {"title", changed<title>},
                                                                     {"capitalize", changed<capitalize>},
                                                                     {"swapcase", changed<swapcase>},
                                                                     {"casefold", changed<lower>},
                                                                     {"strip", stripped<true, true>},
                                                                     {"lstrip", stripped<true, false>},
                                                                     {"rstrip", stripped<false, true>},
                                                                     {"split", split<false>},
                                                                     {"rsplit", split<true>},
                                                                     {"splitlines", splitlines},
                                                                     {"startswith", begins<false>},
                                                                     {"endswith", begins<true>},
                                                                     {"replace", replace},
                                                                     {"find", find<false, false>},
                                                                     {"rfind", find<true, false>},
                                                                     {"index", find<false, true>},
                                                                     {"rindex", find<true, true>},
                                                                     {"count", count},
                                                                     {"removeprefix", remove_affix<false>},
                                                                     {"removesuffix", remove_affix<true>},
                                                                     {"join", join_method},
                                                                     {"format", format_method},
                                                                     {"partition", partition<false>},
                                                                     {"rpartition", partition<true>},
                                                                     {"center", padded<'^'>},
                                                                     {"ljust", padded<'<'>},
                                                                     {"rjust", padded<'>'>},
                                                                     {"zfill", zfill},
                                                                     {"isdigit", all_characters<is_decimal>},
                                                                     {"isdecimal", all_characters<is_decimal>},
                                                                     {"isnumeric", all_characters<is_numeric>},
                                                                     {"isalpha", all_characters<is_alphabetic>},
                                                                     {"isalnum", all_characters<is_alphanumeric>},
                                                                     {"isspace", all_characters<is_space>},
                                                                     {"isupper", cased<true>},
                                                                     {"islower", cased<false>}};
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace lorica::jinja
