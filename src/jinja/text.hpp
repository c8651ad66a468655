// Python's view of text: code points, its character classes and case mappings, repr(), and how it prints numbers.
// Sources: https://docs.python.org/3/library/stdtypes.html#string-methods,
// https://docs.python.org/3/reference/lexical_analysis.html
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lorica::jinja {

/// Malformed bytes become U+FFFD.
std::u32string decode(std::string_view utf8);
std::string encode(std::u32string_view text);
void append(std::string& utf8, char32_t character);
/// Code points.
std::size_t text_length(std::string_view utf8);
bool valid_utf8(std::string_view bytes);

bool is_space(char32_t c);
bool is_alphabetic(char32_t c);
bool is_decimal(char32_t c);
bool is_numeric(char32_t c);
bool is_printable(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);
std::string swapcase(std::string_view text);

/// Without `characters`: white space.
std::string_view strip(std::string_view text, const std::optional<std::u32string>& characters, bool left, bool right);

/// 'it''s' as Python quotes it.
std::string in_quotes(std::string_view text);
/// The shortest text that reads back as the same number: 1.0, 1e+16, nan.
std::string float_repr(double value);
/// & < > ' " as HTML entities.
std::string escape_html(std::string_view text);

}  // namespace lorica::jinja
