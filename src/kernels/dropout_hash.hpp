// The hash that decides which values dropout keeps: of a row's key and the feature's number, 32 bits wide, so that it
// can also be composed of int64 tensor operations. Two rounds of multiply and xorshift: "lowbias32", C. Wellons,
// hash-prospector.
#pragma once

#include <cstdint>

namespace lorica::kernels {

constexpr std::uint32_t kDropoutStride = 0x9E3779B9U, kDropoutMultiply1 = 0x7FEB352DU, kDropoutMultiply2 = 0x846CA68BU;

[[gnu::always_inline]] constexpr std::uint32_t dropout_hash(std::uint32_t key, std::int64_t feature) {
  std::uint32_t x = key + static_cast<std::uint32_t>(feature) * kDropoutStride;
  x ^= x >> 16;
  x *= kDropoutMultiply1;
  x ^= x >> 15;
  x *= kDropoutMultiply2;
  return x ^ (x >> 16);
}

}  // namespace lorica::kernels
