// See alignment.hpp.
#include "tokenizer/alignment.hpp"

#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {
namespace {

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

TextSpan span(std::size_t begin, std::size_t end) {
  return {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)};
}

}  // namespace

Alignment unchanged(std::string_view text, std::size_t start) {
  Alignment alignment;
  alignment.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(static_cast<unsigned char>(text[at]));
    alignment.insert(alignment.end(), length, span(start + at, start + at + length));
    at += length;
  }
  return alignment;
}

TextSpan whole_characters(std::string_view text, std::size_t begin, std::size_t end) {
  while (begin > 0 && begin < text.size() && is_continuation(text[begin])) --begin;
  while (end < text.size() && end > begin && is_continuation(text[end])) ++end;
  return span(begin, end);
}

Alignment sanitized(std::string_view text) {
  Alignment alignment;
  alignment.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bad = ill_formed_length(text.substr(at));
    const std::size_t taken = bad > 0 ? bad : utf8_length(static_cast<unsigned char>(text[at]));
    alignment.insert(alignment.end(), bad > 0 ? kReplacementCharacter.size() : taken, span(at, at + taken));
    at += taken;
  }
  return alignment;
}

}  // namespace lorica::tokenizer
