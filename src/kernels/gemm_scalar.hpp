// The product's kernel in portable C++, a 4 × 4 tile of scalars. Internal to kernels/.
#pragma once

#include <bit>
#include <cstring>

#include "kernels/gemm_tiles.hpp"
#include "kernels/lanes_scalar.hpp"

namespace lorica::kernels {
namespace {

struct ScalarGemm : ScalarLanes {
  using Words = std::uint32_t;
  static Words load_words(const void* p) {
    Words word;
    std::memcpy(&word, p, sizeof(word));
    return word;
  }
  static Words no_words() { return 0; }
  static void transpose(Words (&)[1]) {}
  static Float as_floats(Words word) { return std::bit_cast<float>(word); }
  static Float low_half(Words word) { return std::bit_cast<float>(word << 16); }
  static Float high_half(Words word) { return std::bit_cast<float>(word & 0xFFFF0000u); }
  static Float signed_byte(Words word, int p) { return static_cast<float>(static_cast<std::int8_t>(word >> (8 * p))); }
  using Table = const float*;
  static Float look_up(Table values, Words word, int p) { return values[word >> code_shift(p) & 15]; }
  static Float load_front(const float* p, std::int64_t) { return *p; }
  static void store_front(float* p, Float x, std::int64_t) { *p = x; }
  static void decode32(const std::uint8_t* bytes, const float* values, float scale, float* front, float* back) {
    for (int i = 0; i < 16; ++i) {
      float* out = i < 8 ? front + 2 * i : back + 2 * (i - 8);
      out[0] = values[bytes[i] >> 4] * scale;
      out[1] = values[bytes[i] & 15] * scale;
    }
  }
};

}  // namespace
}  // namespace lorica::kernels
