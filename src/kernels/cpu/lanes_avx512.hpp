// Sixteen floats at a time. Only for files compiled for AVX-512 (F, BW, DQ, VL).
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <initializer_list>

#include "kernels/cpu/lanes_exponential.hpp"

namespace lorica::kernels {
namespace {

struct Avx512Lanes {
  using Float = __m512;
  static constexpr std::int64_t kWidth = 16;
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static Float load(const std::uint16_t* p) {
    const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
  }
  static Float load(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void store(float* p, Float x) { _mm512_storeu_ps(p, x); }
  static void store(std::uint16_t* p, Float x) {
    const __m512i bits = _mm512_srli_epi32(_mm512_castps_si512(round_bf16(x)), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(bits));
  }
  static Float round_bf16(Float x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    const __m512i rounded = _mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_castsi512_ps(_mm512_mask_set1_epi32(rounded, is_nan, 0x7FC00000));
  }
  static Float set(float x) { return _mm512_set1_ps(x); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float subtract(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float divide(Float a, Float b) { return _mm512_div_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float multiply_subtract(Float a, Float b, Float c) { return _mm512_fmsub_ps(a, b, c); }
  static Float square_root(Float x) { return _mm512_sqrt_ps(x); }
  static Float exponential(Float x) { return lanes_exponential<Avx512Lanes>(x); }
  static Float exponential_in_range(Float x) { return lanes_exponential_in_range<Avx512Lanes>(x); }
  static Float tanh(Float x) { return lanes_tanh<Avx512Lanes>(x); }
  static float sum(Float x) { return _mm512_reduce_add_ps(x); }
  static Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
  static float greatest(Float x) { return _mm512_reduce_max_ps(x); }
  /// value, but 0 where x < limit.
  static Float zero_below(Float value, Float x, float limit) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, set(limit), _CMP_NLT_UQ), value);
  }
  /// x in the lanes [begin, end), `otherwise` in the others; begin and end may lie outside.
  static Float keep(Float x, std::int64_t begin, std::int64_t end, float otherwise) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 from = _mm512_cmple_epi32_mask(_mm512_set1_epi32(static_cast<int>(begin)), lane);
    const __mmask16 inside = _mm512_mask_cmpgt_epi32_mask(from, _mm512_set1_epi32(static_cast<int>(end)), lane);
    return _mm512_mask_mov_ps(set(otherwise), inside, x);
  }
  /// The operands' order matters: min and max return the second if either is NaN, so a NaN stays.
  static Float clamp(Float x, float low, float high) {
    return _mm512_max_ps(_mm512_set1_ps(low), _mm512_min_ps(_mm512_set1_ps(high), x));
  }
  static Float nearest(Float x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Float scale_by_power_of_two(Float x, Float n) { return _mm512_scalef_ps(x, n); }

  using Word = __m512i;  ///< 32 bits of each lane; arithmetic wraps
  static Word set_word(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  /// first + lane · step
  static Word words(std::uint32_t first, std::uint32_t step) {
    const Word lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_add_epi32(set_word(first), multiply_word(lane, step));
  }
  static Word multiply_word(Word x, std::uint32_t factor) { return _mm512_mullo_epi32(x, set_word(factor)); }
  /// x ^ (x >> kBits)
  template <int kBits>
  static Word xor_shifted(Word x) {
    return _mm512_xor_si512(x, _mm512_srli_epi32(x, kBits));
  }
  /// value, but 0 where x < limit.
  static Float zero_below(Float value, Word x, std::uint32_t limit) {
    return _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(x, set_word(limit)), value);
  }
};

}  // namespace
}  // namespace lorica::kernels
