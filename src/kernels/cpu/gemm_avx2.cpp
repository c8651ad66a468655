// The matrix product's kernel with AVX2 and FMA: a 6 × 16 tile takes 12 of the 16 registers.
#include "kernels/cpu/lanes_avx2.hpp"
#include "kernels/gemm_tiles.hpp"

namespace lorica::kernels {
namespace {

/// Transposes 8 × 8 words held one row a register.
[[gnu::always_inline]] inline void transpose8(__m256i (&r)[8]) {
  __m256i t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

struct Avx2Gemm : Avx2Lanes {
  using Words = __m256i;
  static Words load_words(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Words no_words() { return _mm256_setzero_si256(); }
  static void transpose(Words (&r)[8]) { transpose8(r); }
  static Float as_floats(Words words) { return _mm256_castsi256_ps(words); }
  static Float low_half(Words words) { return as_floats(_mm256_slli_epi32(words, 16)); }
  static Float high_half(Words words) {
    return as_floats(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xFFFF0000u))));
  }

  static Float signed_byte(Words words, int p) {
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(words, 24 - 8 * p), 24));
  }

  static Float load_front(const float* p, std::int64_t count) {
    if (count == 8) return _mm256_loadu_ps(p);
    alignas(32) float front[8] = {};
    std::copy_n(p, count, front);
    return _mm256_load_ps(front);
  }
  /// Not a masked store, which is slow on some AMD CPUs.
  static void store_front(float* p, Float x, std::int64_t count) {
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

  struct Table {
    explicit Table(const float* values) : low(_mm256_loadu_ps(values)), high(_mm256_loadu_ps(values + 8)) {}
    Table(const float* values, float scale) : Table(values) {
      low = _mm256_mul_ps(low, _mm256_set1_ps(scale));
      high = _mm256_mul_ps(high, _mm256_set1_ps(scale));
    }
    __m256 low, high;
  };
  /// A permutation looks at an index' low three bits alone; bit 3, moved to the sign, tells which half of the table.
  static Float look_up(const Table& table, Words index, Words bit_3_first) {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, index), _mm256_permutevar8x32_ps(table.high, index),
                            _mm256_castsi256_ps(bit_3_first));
  }
  static Float look_up(const Table& table, Words words, int p) {
    return look_up(table, _mm256_srli_epi32(words, code_shift(p)), _mm256_slli_epi32(words, 28 - code_shift(p)));
  }

  static void decode32(const std::uint8_t* bytes, const float* values, float scale, float* front, float* back) {
    const Table table(values, scale);
    const auto eight = [&](__m128i codes, float* out) {
      const __m256i index = _mm256_cvtepu8_epi32(codes);
      _mm256_storeu_ps(out, look_up(table, index, _mm256_slli_epi32(index, 28)));
    };
    const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    const __m128i nibble = _mm_set1_epi8(15);
    const __m128i high = _mm_and_si128(_mm_srli_epi16(both, 4), nibble), low = _mm_and_si128(both, nibble);
    const __m128i first = _mm_unpacklo_epi8(high, low), second = _mm_unpackhi_epi8(high, low);
    eight(first, front);
    eight(_mm_srli_si128(first, 8), front + 8);
    eight(second, back);
    eight(_mm_srli_si128(second, 8), back + 8);
  }
};

}  // namespace

const GemmKernel kGemmAvx2 = gemm_over<Avx2Gemm, 6, 2>();

}  // namespace lorica::kernels
