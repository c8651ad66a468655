// The matrix product's kernel with AVX-512: a 14 × 32 tile takes 28 of the 32 registers, which leaves two for a row of
// b and one or two for broadcasts.
#include "kernels/cpu/lanes_avx512.hpp"
#include "kernels/gemm_tiles.hpp"

namespace lorica::kernels {
namespace {

/// Transposes 16 × 16 floats held one row a register.
[[gnu::always_inline]] inline void transpose16(__m512 (&r)[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  const auto pd = [](__m512 x) { return _mm512_castps_pd(x); };
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(t[i]), pd(t[i + 2])));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(t[i]), pd(t[i + 2])));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pd(t[i + 1]), pd(t[i + 3])));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pd(t[i + 1]), pd(t[i + 3])));
  }
  // r[4g + c] now holds, in its lane l, column 4l + c of rows 4g … 4g+3.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512 front_even = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88);
    const __m512 front_odd = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xDD);
    const __m512 back_even = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88);
    const __m512 back_odd = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xDD);
    t[c] = _mm512_shuffle_f32x4(front_even, back_even, 0x88);
    t[4 + c] = _mm512_shuffle_f32x4(front_odd, back_odd, 0x88);
    t[8 + c] = _mm512_shuffle_f32x4(front_even, back_even, 0xDD);
    t[12 + c] = _mm512_shuffle_f32x4(front_odd, back_odd, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

struct Avx512Gemm : Avx512Lanes {
  struct Table {
    Table(const float* values, float scale) : scaled(_mm512_mul_ps(_mm512_loadu_ps(values), _mm512_set1_ps(scale))) {}
    __m512 scaled;
  };

  static void decode32(const std::uint8_t* bytes, const Table& table, float* out) {
    const __m512i front = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i back = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
    const __m512 high = _mm512_permutexvar_ps(_mm512_srli_epi32(wide, 4), table.scaled);
    const __m512 low = _mm512_permutexvar_ps(wide, table.scaled);  // looks at the low four bits alone
    _mm512_storeu_ps(out, _mm512_permutex2var_ps(high, front, low));
    _mm512_storeu_ps(out + 16, _mm512_permutex2var_ps(high, back, low));
  }

  static void interleave(const float* in, std::int64_t stride, std::int64_t width, std::int64_t count, float* out) {
    for (std::int64_t group = 0; group < width; group += 16) {
      const std::int64_t rows = std::min<std::int64_t>(16, width - group);
      const auto row_mask = static_cast<__mmask16>((1u << rows) - 1u);
      for (std::int64_t j = 0; j < count; j += 16) {
        const std::int64_t columns = std::min<std::int64_t>(16, count - j);
        const auto mask = static_cast<__mmask16>((1u << columns) - 1u);
        __m512 r[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          r[i] = i < rows ? _mm512_maskz_loadu_ps(mask, in + (group + i) * stride + j) : _mm512_setzero_ps();
        }
        transpose16(r);
        float* target = out + j * width + group;
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          if (i < columns) _mm512_mask_storeu_ps(target + i * width, row_mask, r[i]);
        }
      }
    }
  }
};

}  // namespace

const GemmKernel kGemmAvx512 = gemm_over<Avx512Gemm, 14, 2>();

}  // namespace lorica::kernels
