// Code points: UTF-8 in and out, what kind of character each is (as the Python `tokenizers` sees it), lower case,
// normal forms.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lorica::tokenizer {

/// The bits of unicode_flags(): the low five hold a Category.
enum UnicodeFlag : std::uint16_t {
  kCategoryMask = 0x1f,
  kRegexWord = 1 << 5,    ///< `\w` of regular expressions in tokenizer.json
  kTextWord = 1 << 6,     ///< `\w` of the Whitespace pre-tokenizer and of single_word
  kPunctuation = 1 << 7,  ///< the Punctuation pre-tokenizer's
  kNumeric = 1 << 8,      ///< the Digits pre-tokenizer's
  kWhiteSpace = 1 << 9,   ///< Unicode's White_Space, also `\s`
  kMark = 1 << 10,        ///< what StripAccents removes
  kInert = 1 << 11,       ///< left alone by normal forms, though a newer Unicode does not
};

/// General categories, in the order of the generated table.
enum Category : std::uint16_t {
  kCn,
  kCc,
  kCf,
  kCo,
  kLl,
  kLm,
  kLo,
  kLt,
  kLu,
  kMc,
  kMe,
  kMn,
  kNd,
  kNl,
  kNo,
  kPc,
  kPd,
  kPe,
  kPf,
  kPi,
  kPo,
  kPs,
  kSc,
  kSk,
  kSm,
  kSo,
  kZl,
  kZp,
  kZs,
  kCategoryCount,
};
inline constexpr const char* kCategoryNames[kCategoryCount] = {
    "Cn", "Cc", "Cf", "Co", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd", "Nl", "No",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs"};

inline constexpr char32_t kLastCodePoint = 0x10FFFF;
inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

/// Flags of a code point; 0 for a value that is none.
std::uint16_t unicode_flags(char32_t code_point);
inline Category category_of(std::uint16_t flags) {
  return static_cast<Category>(flags & kCategoryMask);
}

struct CodePoint {
  char32_t value;
  std::uint32_t length;  ///< bytes in UTF-8
};

/// The code point at `text[0]`. `text` must be valid UTF-8 and not empty (sanitize() first).
inline CodePoint decode_utf8(const char* text) {
  const auto* b = reinterpret_cast<const unsigned char*>(text);
  if (b[0] < 0x80) return {b[0], 1};
  if (b[0] < 0xE0) return {static_cast<char32_t>((b[0] & 0x1F) << 6 | (b[1] & 0x3F)), 2};
  if (b[0] < 0xF0) return {static_cast<char32_t>((b[0] & 0x0F) << 12 | (b[1] & 0x3F) << 6 | (b[2] & 0x3F)), 3};
  return {static_cast<char32_t>((b[0] & 0x07) << 18 | (b[1] & 0x3F) << 12 | (b[2] & 0x3F) << 6 | (b[3] & 0x3F)), 4};
}
/// Start of the last code point of valid UTF-8 that ends at `end` and begins at or after `begin`.
inline const char* previous_utf8(const char* begin, const char* end) {
  do --end;
  while (end > begin && (static_cast<unsigned char>(*end) & 0xC0) == 0x80);
  return end;
}
void append_utf8(std::string& out, char32_t code_point);
/// Bytes of the UTF-8 character that starts with `lead` (1 for a stray continuation byte).
inline std::uint32_t utf8_length(unsigned char lead) {
  return lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/// Length of the longest valid UTF-8 prefix.
std::size_t valid_utf8_prefix(std::string_view text);
/// Bytes of the ill-formed sequence (maximal subpart) that `text` begins with; 0 if it begins with a character.
std::size_t ill_formed_length(std::string_view text);
/// `text` itself if it is valid UTF-8, else a copy in `storage` where each ill-formed sequence became U+FFFD, cut as in
/// Python's `bytes.decode("utf-8", errors="replace")` and Rust's `String::from_utf8_lossy` (the Unicode standard's
/// maximal subparts).
std::string_view sanitize(std::string_view text, std::string& storage);

/// The normal forms of Unicode.
enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
/// Valid UTF-8 in, valid UTF-8 out.
std::string normal_form(std::string_view text, NormalForm form);
/// Lower case, one code point at a time (no context: final sigma is not special).
std::string lowercase(std::string_view text);

/// Code points as sorted, disjoint, inclusive ranges.
using CodePointRanges = std::vector<std::pair<char32_t, char32_t>>;
/// The code points for which `keep(flags)` holds; surrogates are never among them.
template <class Keep>
CodePointRanges ranges_where(Keep keep) {
  CodePointRanges ranges;
  for (char32_t c = 0; c <= kLastCodePoint; ++c) {
    if (c == 0xD800) c = 0xE000;
    if (!keep(unicode_flags(c))) continue;
    if (!ranges.empty() && ranges.back().second + 1 == c) {
      ranges.back().second = c;
    } else {
      ranges.emplace_back(c, c);
    }
  }
  return ranges;
}

}  // namespace lorica::tokenizer
