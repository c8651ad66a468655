// The matrix product's kernel with AVX-512: a 14 × 32 tile takes 28 of the 32 registers, which leaves two for a row of
// b and one or two for broadcasts.
#include "kernels/cpu/lanes_avx512.hpp"
#include "kernels/gemm_tiles.hpp"

namespace lorica::kernels {
namespace {

/// Transposes 16 × 16 words held one row a register.
[[gnu::always_inline]] inline void transpose16(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4g + c] now holds, in its lane l, column 4l + c of rows 4g … 4g+3.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i front_even = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);
    const __m512i front_odd = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xDD);
    const __m512i back_even = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    const __m512i back_odd = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xDD);
    t[c] = _mm512_shuffle_i32x4(front_even, back_even, 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(front_odd, back_odd, 0x88);
    t[8 + c] = _mm512_shuffle_i32x4(front_even, back_even, 0xDD);
    t[12 + c] = _mm512_shuffle_i32x4(front_odd, back_odd, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

struct Avx512Gemm : Avx512Lanes {
  using Words = __m512i;
  static Words load_words(const void* p) { return _mm512_loadu_si512(p); }
  static Words no_words() { return _mm512_setzero_si512(); }
  static void transpose(Words (&r)[16]) { transpose16(r); }
  static Float as_floats(Words words) { return _mm512_castsi512_ps(words); }
  static Float low_half(Words words) { return as_floats(_mm512_slli_epi32(words, 16)); }
  static Float high_half(Words words) {
    return as_floats(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
  }

  static Float signed_byte(Words words, int p) {
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(words, static_cast<unsigned>(24 - 8 * p)), 24));
  }

  static __mmask16 front(std::int64_t count) { return static_cast<__mmask16>((1u << count) - 1u); }
  static Float load_front(const float* p, std::int64_t count) { return _mm512_maskz_loadu_ps(front(count), p); }
  static void store_front(float* p, Float x, std::int64_t count) { _mm512_mask_storeu_ps(p, front(count), x); }

  struct Table {
    explicit Table(const float* values) : values(_mm512_loadu_ps(values)) {}
    __m512 values;
  };
  /// A permutation looks at an index' low four bits alone.
  static Float look_up(const Table& table, Words words, int p) {
    return _mm512_permutexvar_ps(_mm512_srli_epi32(words, static_cast<unsigned>(code_shift(p))), table.values);
  }

  static void decode32(const std::uint8_t* bytes, const float* values, float scale, float* front, float* back) {
    const __m512i in_front = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i in_back = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(values), _mm512_set1_ps(scale));
    const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
    const __m512 high = _mm512_permutexvar_ps(_mm512_srli_epi32(wide, 4), scaled);
    const __m512 low = _mm512_permutexvar_ps(wide, scaled);
    _mm512_storeu_ps(front, _mm512_permutex2var_ps(high, in_front, low));
    _mm512_storeu_ps(back, _mm512_permutex2var_ps(high, in_back, low));
  }
};

}  // namespace

const GemmKernel kGemmAvx512 = gemm_over<Avx512Gemm, 14, 2>();

}  // namespace lorica::kernels
