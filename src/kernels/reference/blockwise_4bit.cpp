// Portable 4-bit quantization: the formulas of kernels/blockwise_4bit.hpp, value by value.
#include <algorithm>
#include <cmath>

#include "kernels/blockwise_4bit_impl.hpp"

namespace lorica::kernels {
namespace {

// bitsandbytes' floor of absmax, which keeps 1 / absmax finite.
constexpr float kSmallestAbsmax = 1e-38f;

std::uint8_t rank_of(float scaled, const std::array<float, 15>& midpoints) {
  // "Not less or equal" rather than "greater": a NaN takes the highest rank, as in bitsandbytes.
  int rank = 0;
  for (const float midpoint : midpoints) rank += !(scaled <= midpoint);
  return static_cast<std::uint8_t>(rank);
}

float absmax_of(const void* source, FloatType type, std::int64_t begin, std::int64_t end) {
  float largest = 0;
  for (std::int64_t i = begin; i < end; ++i) {
    const float magnitude = std::fabs(load_float(source, type, i));
    if (magnitude > largest || std::isnan(magnitude)) largest = magnitude;
    if (std::isnan(largest)) break;
  }
  return largest;
}

void quantize(Code4 code, const void* source, FloatType type, std::int64_t n, std::int64_t block_size,
              std::uint8_t* packed, float* absmax) {
  const auto& midpoints = code4_midpoints(code);
  const auto& order = code4_order(code);
  for (std::int64_t begin = 0; begin < n; begin += block_size) {
    const std::int64_t end = std::min(n, begin + block_size);
    const bool whole = end - begin == block_size;
    const float found = absmax_of(source, type, begin, end);
    const float divisor = found < kSmallestAbsmax ? kSmallestAbsmax : found;
    const float factor = 1.0f / divisor;
    absmax[begin / block_size] = whole ? found : divisor;
    for (std::int64_t i = begin; i < end; i += 2) {
      std::uint8_t byte = 0;
      for (std::int64_t k = i; k < i + 2; ++k) {
        const float x = k < end ? load_float(source, type, k) : 0.0f;
        const float scaled = k >= end ? 0.0f : whole ? x * factor : x / divisor;
        byte = static_cast<std::uint8_t>(byte << 4 | order[rank_of(scaled, midpoints)]);
      }
      packed[i / 2] = byte;
    }
  }
}

void dequantize(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n, std::int64_t block_size,
                FloatType type, void* out) {
  const auto& values = code4_values(code);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint8_t byte = packed[i / 2];
    const std::uint8_t pattern = i % 2 == 0 ? byte >> 4 : byte & 15;
    store_float(out, type, i, values[pattern] * absmax[i / block_size]);
  }
}

}  // namespace

const Blockwise4bit kBlockwise4bitReference{quantize, dequantize};

}  // namespace lorica::kernels
