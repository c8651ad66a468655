// See byte_level.hpp.
#include "tokenizer/byte_level.hpp"

#include <array>

#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {
namespace {

constexpr char32_t kAlphabetEnd = 0x144;  // 188 printable bytes stand for themselves, the other 68 are U+0100 … U+0143

struct Alphabet {
  std::array<std::string, 256> character;
  std::array<int, kAlphabetEnd> byte;
  Alphabet() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (char32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
      const char32_t c = printable ? b : next++;
      append_utf8(character[b], c);
      byte[c] = static_cast<int>(b);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

const std::string& byte_character(unsigned char byte) {
  return alphabet().character[byte];
}

void append_byte_level(std::string& out, std::string_view bytes) {
  const Alphabet& table = alphabet();
  for (const char byte : bytes) out += table.character[static_cast<unsigned char>(byte)];
}

std::optional<std::string> bytes_of_byte_level(std::string_view token) {
  const Alphabet& table = alphabet();
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const CodePoint c = decode_utf8(token.data() + at);
    if (c.value >= kAlphabetEnd || table.byte[c.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(table.byte[c.value]));
    at += c.length;
  }
  return bytes;
}

}  // namespace lorica::tokenizer
