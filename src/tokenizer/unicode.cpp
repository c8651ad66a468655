// UTF-8, the two-stage lookup over the generated tables, lower case, and normal forms by utf8proc.
#include "tokenizer/unicode.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "base/error.hpp"
#include "tokenizer/unicode_tables.hpp"

namespace lorica::tokenizer {
namespace {

constexpr std::size_t kBlockBits = 7;
constexpr std::size_t kBlock = 1 << kBlockBits;
constexpr std::size_t kBlockCount = (kLastCodePoint + 1) >> kBlockBits;

/// Flags by block; blocks that are equal throughout to an earlier uniform one are shared.
class FlagTable {
 public:
  FlagTable() {
    std::vector<std::uint16_t> flat(kLastCodePoint + 1);
    for (std::size_t r = 0; r < kUnicodeRunCount; ++r) {
      const std::size_t end = r + 1 < kUnicodeRunCount ? kUnicodeRuns[r + 1].start : flat.size();
      std::fill(flat.begin() + kUnicodeRuns[r].start, flat.begin() + static_cast<std::ptrdiff_t>(end),
                kUnicodeRuns[r].flags);
    }
    for (std::size_t block = 0; block < kBlockCount; ++block) {
      const auto first = flat.begin() + static_cast<std::ptrdiff_t>(block * kBlock);
      const bool same = block > 0 && std::equal(first, first + kBlock, blocks_.end() - kBlock);
      if (!same) blocks_.insert(blocks_.end(), first, first + kBlock);
      index_[block] = static_cast<std::uint32_t>(blocks_.size() - kBlock);
    }
  }
  std::uint16_t operator[](char32_t c) const { return blocks_[index_[c >> kBlockBits] + (c & (kBlock - 1))]; }

 private:
  std::array<std::uint32_t, kBlockCount> index_{};
  std::vector<std::uint16_t> blocks_;
};

const FlagTable& flag_table() {
  static const FlagTable table;
  return table;
}

bool is_continuation(unsigned char byte) {
  return (byte & 0xC0) == 0x80;
}

/// Bytes of the well-formed sequence at `b` (of `size` bytes), or minus the bytes of its ill-formed maximal subpart.
int sequence_length(const unsigned char* b, std::size_t size) {
  if (b[0] < 0x80) return 1;
  if (b[0] < 0xC2 || b[0] > 0xF4) return -1;
  // The second byte's range depends on the first: no overlong forms, no surrogates, nothing beyond U+10FFFF.
  const unsigned char low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
  if (size < 2 || b[1] < low || b[1] > high) return -1;
  if (b[0] < 0xE0) return 2;
  if (size < 3 || !is_continuation(b[2])) return -2;
  if (b[0] < 0xF0) return 3;
  if (size < 4 || !is_continuation(b[3])) return -3;
  return 4;
}

utf8proc_option_t options_of(NormalForm form) {
  const int shape = form == NormalForm::kNfc || form == NormalForm::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  const int compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd ? UTF8PROC_COMPAT : 0;
  return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | shape | compatible);
}

void append_normal_form(std::string& out, std::string_view text, NormalForm form) {
  if (text.empty()) return;
  utf8proc_uint8_t* mapped = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                 static_cast<utf8proc_ssize_t>(text.size()), &mapped, options_of(form));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(mapped, std::free);
  if (size < 0) raise<DataError>("cannot normalize a text of {} bytes: {}", text.size(), utf8proc_errmsg(size));
  out.append(reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(size));
}

}  // namespace

std::uint16_t unicode_flags(char32_t code_point) {
  static const FlagTable& table = flag_table();
  return code_point <= kLastCodePoint ? table[code_point] : 0;
}

void append_utf8(std::string& out, char32_t c) {
  const auto byte = [&out](char32_t value) { out.push_back(static_cast<char>(value)); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xC0 | c >> 6), byte(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F));
  } else {
    byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 0x3F)), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F));
  }
}

std::size_t valid_utf8_prefix(std::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t at = 0;
  while (at < text.size()) {
    const int length = sequence_length(bytes + at, text.size() - at);
    if (length < 0) break;
    at += static_cast<std::size_t>(length);
  }
  return at;
}

std::size_t ill_formed_length(std::string_view text) {
  if (text.empty()) return 0;
  const int length = sequence_length(reinterpret_cast<const unsigned char*>(text.data()), text.size());
  return length < 0 ? static_cast<std::size_t>(-length) : 0;
}

std::string_view sanitize(std::string_view text, std::string& storage) {
  std::size_t valid = valid_utf8_prefix(text);
  if (valid == text.size()) return text;
  storage.clear();
  storage.reserve(text.size() + text.size() / 4);
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t at = 0;
  while (at < text.size()) {
    const int length = sequence_length(bytes + at, text.size() - at);
    if (length > 0) {
      storage.append(text.substr(at, static_cast<std::size_t>(length)));
    } else {
      storage.append(kReplacementCharacter);
    }
    at += static_cast<std::size_t>(std::abs(length));
  }
  return storage;
}

std::string normal_form(std::string_view text, NormalForm form) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) >= 0; })) {
    return std::string(text);
  }
  // utf8proc knows a newer Unicode than `tokenizers` does: what only the newer one decomposes, composes or reorders
  // stays as it is, and as a character unknown to the older one it also parts its neighbours.
  std::string out;
  out.reserve(text.size() + 16);
  std::size_t run = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text.data() + at);
    if (unicode_flags(c.value) & kInert) {
      append_normal_form(out, text.substr(run, at - run), form);
      out.append(text.substr(at, c.length));
      run = at + c.length;
    }
    at += c.length;
  }
  append_normal_form(out, text.substr(run), form);
  return out;
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 8);
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text.data() + at);
    at += c.length;
    const auto* end = kLowercaseOverrides + kLowercaseOverrideCount;
    const auto* found =
        std::lower_bound(kLowercaseOverrides, end, c.value,
                         [](const LowercaseOverride& o, char32_t value) { return o.code_point < value; });
    if (found != end && found->code_point == c.value) {
      append_utf8(out, found->lower[0]);
      if (found->lower[1] != 0) append_utf8(out, found->lower[1]);
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))));
    }
  }
  return out;
}

}  // namespace lorica::tokenizer
