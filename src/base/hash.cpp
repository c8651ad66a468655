#include "base/hash.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "base/random.hpp"

namespace lorica {

void ContentHash::absorb(std::uint64_t word) {
  a_ = (std::rotl(a_, 29) ^ word) * 0x9E3779B97F4A7C15ULL;
  a_ ^= a_ >> 32;
  b_ = (std::rotl(b_, 31) + word) * 0xD6E8FEB86659FD93ULL;
  b_ ^= b_ >> 29;
}

ContentHash& ContentHash::add(std::string_view bytes) {
  const char* data = bytes.data();
  std::size_t left = bytes.size();
  while (left > 0) {
    if (length_ % 8 == 0 && left >= 8) {
      std::uint64_t word;
      std::memcpy(&word, data, 8);
      absorb(word);
      data += 8, left -= 8, length_ += 8;
      continue;
    }
    pending_ |= static_cast<std::uint64_t>(static_cast<unsigned char>(*data)) << (8 * (length_ % 8));
    ++data, --left, ++length_;
    if (length_ % 8 == 0) {
      absorb(pending_);
      pending_ = 0;
    }
  }
  return *this;
}

ContentHash& ContentHash::add_field(std::string_view bytes) {
  add_field(static_cast<std::uint64_t>(bytes.size()));
  return add(bytes);
}

ContentHash& ContentHash::add_field(std::uint64_t value) {
  return add({reinterpret_cast<const char*>(&value), sizeof value});
}

std::string ContentHash::hex() const {
  const auto a = mix64(a_ ^ pending_ ^ length_);
  const auto b = mix64(b_ + pending_ + mix64(length_));
  return fmt::format("{:016x}{:016x}", mix64(a ^ std::rotl(b, 17)), mix64(b ^ a));
}

}  // namespace lorica
