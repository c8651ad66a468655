// One float at a time, behind the interface that the vector lanes have: the reference, and the tails of the others.
//
// It lives in an unnamed namespace on purpose: each file that includes it is compiled for its own instruction set and
// must keep its own copy.
#pragma once

#include <cmath>

#include "kernels/float_type.hpp"

namespace lorica::kernels {
namespace {

struct ScalarLanes {
  using Float = float;
  static constexpr std::int64_t kWidth = 1;
  static Float load(const float* p) { return *p; }
  static Float load(const std::uint16_t* p) { return bf16_to_float(*p); }
  static Float load(const std::int8_t* p) { return static_cast<float>(*p); }
  static void store(float* p, Float x) { *p = x; }
  static void store(std::uint16_t* p, Float x) { *p = float_to_bf16(x); }
  static Float round_bf16(Float x) { return bf16_to_float(float_to_bf16(x)); }
  static Float set(float x) { return x; }
  static Float add(Float a, Float b) { return a + b; }
  static Float subtract(Float a, Float b) { return a - b; }
  static Float multiply(Float a, Float b) { return a * b; }
  static Float divide(Float a, Float b) { return a / b; }
  static Float multiply_add(Float a, Float b, Float c) { return a * b + c; }
  static Float multiply_subtract(Float a, Float b, Float c) { return a * b - c; }
  static Float square_root(Float x) { return std::sqrt(x); }
  static Float exponential(Float x) { return std::exp(x); }
  static Float exponential_in_range(Float x) { return std::exp(x); }
  static Float tanh(Float x) { return std::tanh(x); }
  static float sum(Float x) { return x; }
  static Float max(Float a, Float b) { return a > b ? a : b; }
  static float greatest(Float x) { return x; }
  /// value, but 0 where x < limit.
  static Float zero_below(Float value, Float x, float limit) { return x < limit ? 0.0f : value; }
  /// x in the lanes [begin, end), `otherwise` in the others; begin and end may lie outside.
  static Float keep(Float x, std::int64_t begin, std::int64_t end, float otherwise) {
    return begin <= 0 && end > 0 ? x : otherwise;
  }

  using Word = std::uint32_t;  ///< 32 bits of each lane; arithmetic wraps
  /// first + lane · step
  static Word words(std::uint32_t first, std::uint32_t) { return first; }
  static Word multiply_word(Word x, std::uint32_t factor) { return x * factor; }
  /// x ^ (x >> kBits)
  template <int kBits>
  static Word xor_shifted(Word x) {
    return x ^ (x >> kBits);
  }
  /// value, but 0 where x < limit.
  static Float zero_below(Float value, Word x, std::uint32_t limit) { return x < limit ? 0.0f : value; }
};

}  // namespace
}  // namespace lorica::kernels
