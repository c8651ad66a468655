#include "jinja/text.hpp"

#include <utf8proc.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

namespace lorica::jinja {
namespace {

/// One code point from the front of `text`, and its bytes; (U+FFFD, 1) where they are malformed.
std::pair<char32_t, std::size_t> next_character(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return {first, 1};
  utf8proc_int32_t c = 0;
  const auto read = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                     static_cast<utf8proc_ssize_t>(text.size()), &c);
  if (read <= 0) return {0xFFFD, 1};
  return {static_cast<char32_t>(c), static_cast<std::size_t>(read)};
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

struct Special {
  char32_t character;
  std::u32string_view upper, title;
};

/// The characters that become several in upper or title case (Unicode's SpecialCasing.txt).
constexpr std::array<Special, 17> kSpecials = {{{0xDF, U"SS", U"Ss"},
                                                {0x149, U"\u02BCN", U"\u02BCN"},
                                                {0x1F0, U"J\u030C", U"J\u030C"},
                                                {0x390, U"\u0399\u0308\u0301", U"\u0399\u0308\u0301"},
                                                {0x3B0, U"\u03A5\u0308\u0301", U"\u03A5\u0308\u0301"},
                                                {0x587, U"\u0535\u0552", U"\u0535\u0582"},
                                                {0xFB00, U"FF", U"Ff"},
                                                {0xFB01, U"FI", U"Fi"},
                                                {0xFB02, U"FL", U"Fl"},
                                                {0xFB03, U"FFI", U"Ffi"},
                                                {0xFB04, U"FFL", U"Ffl"},
                                                {0xFB05, U"ST", U"St"},
                                                {0xFB06, U"ST", U"St"},
                                                {0x1E96, U"H\u0331", U"H\u0331"},
                                                {0x1E97, U"T\u0308", U"T\u0308"},
                                                {0x1E98, U"W\u030A", U"W\u030A"},
                                                {0x1E99, U"Y\u030A", U"Y\u030A"}}};

void append_upper(std::u32string& out, char32_t c, bool as_title) {
  for (const Special& special : kSpecials) {
    if (special.character == c) {
      out += as_title ? special.title : special.upper;
      return;
    }
  }
  const auto code = static_cast<utf8proc_int32_t>(c);
  out += static_cast<char32_t>(as_title ? utf8proc_totitle(code) : utf8proc_toupper(code));
}

bool is_cased(char32_t c) {
  return is_upper(c) || is_lower(c) || category(c) == UTF8PROC_CATEGORY_LT;
}

bool is_case_ignorable(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF ||
         kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_SK || c == U'\'' || c == U'.' || c == U':' ||
         c == 0xB7 || c == 0x2019;
}

/// Sigma at the end of a word has a form of its own.
bool is_final(const std::u32string& text, std::size_t place) {
  std::size_t before = place;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  std::size_t after = place + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append_lower(std::u32string& out, const std::u32string& text, std::size_t place) {
  const char32_t c = text[place];
  if (c == 0x130) {
    out += U"i\u0307";
  } else if (c == 0x3A3) {
    out += is_final(text, place) ? U'\u03C2' : U'\u03C3';
  } else {
    out += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  }
}

}  // namespace

std::u32string decode(std::string_view utf8) {
  std::u32string text;
  text.reserve(utf8.size());
  while (!utf8.empty()) {
    const auto [c, bytes] = next_character(utf8);
    text += c;
    utf8.remove_prefix(bytes);
  }
  return text;
}

void append(std::string& utf8, char32_t character) {
  if (character < 0x80) {
    utf8 += static_cast<char>(character);
    return;
  }
  std::array<utf8proc_uint8_t, 4> bytes = {};
  const auto count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(character), bytes.data());
  utf8.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(count));
}

std::string encode(std::u32string_view text) {
  std::string utf8;
  utf8.reserve(text.size());
  for (const char32_t c : text) append(utf8, c);
  return utf8;
}

std::size_t text_length(std::string_view utf8) {
  std::size_t count = 0;
  for (const char byte : utf8) count += (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
  return count;
}

bool valid_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto [c, count] = next_character(bytes);
    if (c == 0xFFFD && count == 1) return false;
    bytes.remove_prefix(count);
  }
  return true;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alphabetic(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT ||
         kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_numeric(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_printable(char32_t c) {
  if (c == U' ') return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

bool is_upper(char32_t c) {
  return utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0;
}
bool is_lower(char32_t c) {
  return utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0;
}

std::string upper(std::string_view text) {
  std::u32string out;
  for (const char32_t c : decode(text)) append_upper(out, c, false);
  return encode(out);
}

std::string lower(std::string_view text) {
  const std::u32string characters = decode(text);
  std::u32string out;
  for (std::size_t i = 0; i < characters.size(); ++i) append_lower(out, characters, i);
  return encode(out);
}

std::string capitalize(std::string_view text) {
  const std::u32string characters = decode(text);
  std::u32string out;
  for (std::size_t i = 0; i < characters.size(); ++i) {
    if (i == 0) {
      append_upper(out, characters[0], true);
    } else {
      append_lower(out, characters, i);
    }
  }
  return encode(out);
}

std::string title(std::string_view text) {
  const std::u32string characters = decode(text);
  std::u32string out;
  bool inside = false;
  for (std::size_t i = 0; i < characters.size(); ++i) {
    if (inside) {
      append_lower(out, characters, i);
    } else {
      append_upper(out, characters[i], true);
    }
    inside = is_cased(characters[i]);
  }
  return encode(out);
}

std::string swapcase(std::string_view text) {
  const std::u32string characters = decode(text);
  std::u32string out;
  for (std::size_t i = 0; i < characters.size(); ++i) {
    if (is_upper(characters[i])) {
      append_lower(out, characters, i);
    } else if (is_lower(characters[i])) {
      append_upper(out, characters[i], false);
    } else {
      out += characters[i];
    }
  }
  return encode(out);
}

std::string_view strip(std::string_view text, const std::optional<std::u32string>& characters, bool left, bool right) {
  const auto goes = [&](char32_t c) { return characters ? characters->find(c) != std::u32string::npos : is_space(c); };
  while (left && !text.empty()) {
    const auto [c, bytes] = next_character(text);
    if (!goes(c)) break;
    text.remove_prefix(bytes);
  }
  while (right && !text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0U) == 0x80U) --start;
    if (!goes(next_character(text.substr(start)).first)) break;
    text = text.substr(0, start);
  }
  return text;
}

std::string in_quotes(std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = single ? '"' : '\'';
  std::string out(1, quote);
  while (!text.empty()) {
    const auto [c, bytes] = next_character(text);
    if (c == static_cast<char32_t>(quote) || c == U'\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == U'\n') {
      out += "\\n";
    } else if (c == U'\r') {
      out += "\\r";
    } else if (c == U'\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += text.substr(0, bytes);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<std::uint32_t>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<std::uint32_t>(c));
    }
    text.remove_prefix(bytes);
  }
  return out + quote;
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  if (value == 0) return std::signbit(value) ? "-0.0" : "0.0";
  std::array<char, 400> buffer = {};
  const double size = std::fabs(value);
  if (size >= 1e16 || size < 1e-4) {
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific);
    return {buffer.data(), end.ptr};  // two digits of exponent at least, as Python has them
  }
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  std::string text(buffer.data(), end.ptr);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace lorica::jinja
