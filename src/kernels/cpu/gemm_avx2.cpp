// The matrix product's kernel with AVX2 and FMA: a 6 × 16 tile takes 12 of the 16 registers.
#include "kernels/cpu/lanes_avx2.hpp"
#include "kernels/gemm_tiles.hpp"

namespace lorica::kernels {
namespace {

/// Transposes 8 × 8 floats held one row a register.
[[gnu::always_inline]] inline void transpose8(__m256 (&r)[8]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

/// The first `count` of eight floats. Not a masked store, which is slow on some AMD CPUs.
[[gnu::always_inline]] inline void store_front(float* p, __m256 x, std::int64_t count) {
  if (count == 8) return _mm256_storeu_ps(p, x);
  __m128 part = _mm256_castps256_ps128(x);
  if (count & 4) {
    _mm_storeu_ps(p, part);
    part = _mm256_extractf128_ps(x, 1);
    p += 4;
  }
  if (count & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
    part = _mm_movehl_ps(part, part);
    p += 2;
  }
  if (count & 1) _mm_store_ss(p, part);
}

struct Avx2Gemm : Avx2Lanes {
  struct Table {
    Table(const float* values, float scale)
        : low(_mm256_mul_ps(_mm256_loadu_ps(values), _mm256_set1_ps(scale))),
          high(_mm256_mul_ps(_mm256_loadu_ps(values + 8), _mm256_set1_ps(scale))) {}
    __m256 low, high;
  };

  /// Eight codes, one a byte, to values: bit 3 tells which half of the table.
  static __m256 look_up(__m128i codes, const Table& table) {
    const __m256i index = _mm256_cvtepu8_epi32(codes);
    const __m256 in_high = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, index), _mm256_permutevar8x32_ps(table.high, index),
                            in_high);
  }

  static void decode32(const std::uint8_t* bytes, const Table& table, float* out) {
    const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    const __m128i nibble = _mm_set1_epi8(15);
    const __m128i high = _mm_and_si128(_mm_srli_epi16(both, 4), nibble), low = _mm_and_si128(both, nibble);
    const __m128i front = _mm_unpacklo_epi8(high, low), back = _mm_unpackhi_epi8(high, low);
    _mm256_storeu_ps(out, look_up(front, table));
    _mm256_storeu_ps(out + 8, look_up(_mm_srli_si128(front, 8), table));
    _mm256_storeu_ps(out + 16, look_up(back, table));
    _mm256_storeu_ps(out + 24, look_up(_mm_srli_si128(back, 8), table));
  }

  static void interleave(const float* in, std::int64_t stride, std::int64_t width, std::int64_t count, float* out) {
    const std::int64_t whole = count / 8 * 8;
    for (std::int64_t group = 0; group < width; group += 8) {
      const std::int64_t rows = std::min<std::int64_t>(8, width - group);
      for (std::int64_t j = 0; j < whole; j += 8) {
        __m256 r[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
          r[i] = i < rows ? _mm256_loadu_ps(in + (group + i) * stride + j) : _mm256_setzero_ps();
        }
        transpose8(r);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) store_front(out + (j + i) * width + group, r[i], rows);
      }
    }
    interleave_plainly(in + whole, stride, width, count - whole, width, out + whole * width);
  }
};

}  // namespace

const GemmKernel kGemmAvx2 = gemm_over<Avx2Gemm, 6, 2>();

}  // namespace lorica::kernels
