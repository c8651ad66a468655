// The product's kernel in portable C++, a 4 × 4 tile of scalars. Internal to kernels/.
#pragma once

#include "kernels/gemm_tiles.hpp"
#include "kernels/lanes_scalar.hpp"

namespace lorica::kernels {
namespace {

struct ScalarGemm : ScalarLanes {
  struct Table {
    Table(const float* values, float scale) {
      for (int i = 0; i < 16; ++i) scaled[i] = values[i] * scale;
    }
    float scaled[16];
  };
  static void decode32(const std::uint8_t* bytes, const Table& table, float* out) {
    for (int i = 0; i < 16; ++i) {
      out[2 * i] = table.scaled[bytes[i] >> 4];
      out[2 * i + 1] = table.scaled[bytes[i] & 15];
    }
  }
  static void interleave(const float* in, std::int64_t stride, std::int64_t width, std::int64_t count, float* out) {
    interleave_plainly(in, stride, width, count, width, out);
  }
};

}  // namespace
}  // namespace lorica::kernels
