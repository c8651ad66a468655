// Eight floats at a time. Only for files compiled for AVX2 with FMA.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <initializer_list>

#include "kernels/cpu/lanes_exponential.hpp"

namespace lorica::kernels {
namespace {

struct Avx2Lanes {
  using Float = __m256;
  static constexpr std::int64_t kWidth = 8;
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static Float load(const std::uint16_t* p) {
    const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
  }
  static Float load(const std::int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static void store(float* p, Float x) { _mm256_storeu_ps(p, x); }
  static void store(std::uint16_t* p, Float x) {
    const __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(round_bf16(x)), 16);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), words);
  }
  static Float round_bf16(Float x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i rounded = _mm256_and_si256(sum, _mm256_set1_epi32(static_cast<int>(0xFFFF0000u)));
    const __m256 quiet_nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
    return _mm256_blendv_ps(_mm256_castsi256_ps(rounded), quiet_nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  }
  static Float set(float x) { return _mm256_set1_ps(x); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float subtract(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static Float multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float divide(Float a, Float b) { return _mm256_div_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float multiply_subtract(Float a, Float b, Float c) { return _mm256_fmsub_ps(a, b, c); }
  static Float square_root(Float x) { return _mm256_sqrt_ps(x); }
  static Float exponential(Float x) { return lanes_exponential<Avx2Lanes>(x); }
  static Float exponential_in_range(Float x) { return lanes_exponential_in_range<Avx2Lanes>(x); }
  static Float tanh(Float x) { return lanes_tanh<Avx2Lanes>(x); }
  static float sum(Float x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
  static float greatest(Float x) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }
  /// value, but 0 where x < limit.
  static Float zero_below(Float value, Float x, float limit) {
    return _mm256_and_ps(value, _mm256_cmp_ps(x, set(limit), _CMP_NLT_UQ));
  }
  /// x in the lanes [begin, end), `otherwise` in the others; begin and end may lie outside.
  static Float keep(Float x, std::int64_t begin, std::int64_t end, float otherwise) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(begin)), lane);
    const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(end)), lane);
    return _mm256_blendv_ps(set(otherwise), x, _mm256_castsi256_ps(_mm256_andnot_si256(before, inside)));
  }
  /// The operands' order matters: min and max return the second if either is NaN, so a NaN stays.
  static Float clamp(Float x, float low, float high) {
    return _mm256_max_ps(_mm256_set1_ps(low), _mm256_min_ps(_mm256_set1_ps(high), x));
  }
  static Float nearest(Float x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Float scale_by_power_of_two(Float x, Float n) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(x, _mm256_castsi256_ps(exponent));
  }

  using Word = __m256i;  ///< 32 bits of each lane; arithmetic wraps
  static Word set_word(std::uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  /// first + lane · step
  static Word words(std::uint32_t first, std::uint32_t step) {
    const Word lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_add_epi32(set_word(first), multiply_word(lane, step));
  }
  static Word multiply_word(Word x, std::uint32_t factor) { return _mm256_mullo_epi32(x, set_word(factor)); }
  /// x ^ (x >> kBits)
  template <int kBits>
  static Word xor_shifted(Word x) {
    return _mm256_xor_si256(x, _mm256_srli_epi32(x, kBits));
  }
  /// value, but 0 where x < limit. AVX2 compares signed words only; the greater of both is x where x >= limit.
  static Float zero_below(Float value, Word x, std::uint32_t limit) {
    const Word is_kept = _mm256_cmpeq_epi32(_mm256_max_epu32(x, set_word(limit)), x);
    return _mm256_and_ps(value, _mm256_castsi256_ps(is_kept));
  }
};

}  // namespace
}  // namespace lorica::kernels
