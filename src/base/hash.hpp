// A 128-bit content hash (two independent 64-bit lanes) for cache keys: fast, stable across machines, not
// cryptographic.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lorica {

class ContentHash {
 public:
  /// Adds bytes. The result depends on the concatenation alone, not on how it was cut into calls… except that
  /// add_field() also adds the length, so that ("ab","c") and ("a","bc") differ.
  ContentHash& add(std::string_view bytes);
  ContentHash& add_field(std::string_view bytes);
  ContentHash& add_field(std::uint64_t value);
  /// 32 lower-case hexadecimal digits.
  std::string hex() const;

 private:
  void absorb(std::uint64_t word);
  std::uint64_t a_ = 0x243F6A8885A308D3ULL, b_ = 0x13198A2E03707344ULL;
  std::uint64_t length_ = 0, pending_ = 0;
};

}  // namespace lorica
