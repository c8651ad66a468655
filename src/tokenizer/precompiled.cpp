// See precompiled.hpp. Every index read from the trie is checked: the map comes from an untrusted file.
#include "tokenizer/precompiled.hpp"

#include <utf8proc.h>

#include <array>
#include <cstring>

#include "base/error.hpp"
#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {
namespace {

constexpr std::size_t kLongestGrapheme = 6;  // bytes; longer ones are mapped character by character

// The fields of a darts-clone unit.
bool has_leaf(std::uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
std::uint32_t leaf_value(std::uint32_t unit) {
  return unit & 0x7FFFFFFFu;
}
std::uint32_t label(std::uint32_t unit) {
  return unit & (1u << 31 | 0xFF);
}
std::uint32_t offset(std::uint32_t unit) {
  return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

std::uint32_t read_u32(const char* bytes) {
  const auto* b = reinterpret_cast<const unsigned char*>(bytes);
  return static_cast<std::uint32_t>(b[0]) | static_cast<std::uint32_t>(b[1]) << 8 |
         static_cast<std::uint32_t>(b[2]) << 16 | static_cast<std::uint32_t>(b[3]) << 24;
}

}  // namespace

PrecompiledMap::PrecompiledMap(std::string_view blob, const std::string& where) {
  const std::uint32_t trie_bytes = blob.size() >= 4 ? read_u32(blob.data()) : 0;
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > blob.size() - 4) {
    raise<DataError>("{}: the character map is truncated or malformed ({} bytes, trie of {})", where, blob.size(),
                     trie_bytes);
  }
  units_.resize(trie_bytes / 4);
  for (std::size_t i = 0; i < units_.size(); ++i) units_[i] = read_u32(blob.data() + 4 + 4 * i);
  replacements_ = blob.substr(4 + trie_bytes);
  if (valid_utf8_prefix(replacements_) != replacements_.size()) {
    raise<DataError>("{}: the replacements of the character map are not valid UTF-8", where);
  }
}

std::optional<std::string_view> PrecompiledMap::replacement(std::string_view chunk) const {
  std::size_t node = offset(units_[0]);
  for (const char byte : chunk) {
    const auto key = static_cast<unsigned char>(byte);
    if (key == 0) break;
    node ^= key;
    if (node >= units_.size() || label(units_[node]) != key) break;
    const std::uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    // The first (shortest) prefix counts: that is what `tokenizers` does.
    const std::size_t at = node < units_.size() ? leaf_value(units_[node]) : replacements_.size();
    if (at >= replacements_.size() || (static_cast<unsigned char>(replacements_[at]) & 0xC0) == 0x80)
      return std::nullopt;
    return std::string_view(replacements_).substr(at, std::strlen(replacements_.c_str() + at));
  }
  return std::nullopt;
}

template <class Put>
void PrecompiledMap::replace_grapheme(std::string_view text, std::size_t begin, std::size_t end, const Put& put) const {
  const std::string_view grapheme = text.substr(begin, end - begin);
  if (grapheme.size() < kLongestGrapheme) {
    if (const auto mapped = replacement(grapheme)) return put(begin, end, *mapped);
  }
  for (std::size_t at = begin; at < end;) {
    const std::string_view character = text.substr(at, utf8_length(static_cast<unsigned char>(text[at])));
    put(at, at + character.size(), replacement(character).value_or(character));
    at += character.size();
  }
}

void PrecompiledMap::apply(std::string_view text,
                           const std::function<void(std::size_t, std::size_t, std::string_view)>& put) const {
  utf8proc_int32_t state = 0;
  std::size_t start = 0;
  char32_t previous = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text.data() + at);
    if (at > 0 && utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous),
                                                   static_cast<utf8proc_int32_t>(c.value), &state)) {
      replace_grapheme(text, start, at, put);
      start = at;
    }
    previous = c.value;
    at += c.length;
  }
  if (start < text.size()) replace_grapheme(text, start, text.size(), put);
}

std::optional<std::string> decode_base64(std::string_view text) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::array<int, 256> value;
  value.fill(-1);
  for (std::size_t i = 0; i < kDigits.size(); ++i) value[static_cast<unsigned char>(kDigits[i])] = static_cast<int>(i);
  std::string bytes;
  bytes.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int digit = value[static_cast<unsigned char>(c)];
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if ((count += 6) >= 8) bytes.push_back(static_cast<char>(bits >> (count -= 8) & 0xFF));
  }
  return count == 6 ? std::nullopt : std::optional(bytes);
}

}  // namespace lorica::tokenizer
