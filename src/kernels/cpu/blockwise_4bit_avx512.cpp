// 4-bit quantization with AVX-512 (F, BW, DQ, VL): the same results as the reference, bit for bit.
//
// As the AVX2 version, but a register holds all 16 table entries, so each step of the search is one permutation.
#include <immintrin.h>

#include "kernels/blockwise_4bit_impl.hpp"

namespace lorica::kernels {
namespace {

template <FloatType type>
__m512 load16(const void* source, std::int64_t i) {
  if constexpr (type == FloatType::f32) return _mm512_loadu_ps(static_cast<const float*>(source) + i);
  const auto* p = reinterpret_cast<const __m256i*>(static_cast<const std::uint16_t*>(source) + i);
  const __m256i raw = _mm256_loadu_si256(p);
  if constexpr (type == FloatType::f16) return _mm512_cvtph_ps(raw);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

/// max |x| of a block, on bit patterns: they order as the magnitudes do, with NaN above infinity.
template <FloatType type>
float block_absmax(const void* source, std::int64_t block_size) {
  if constexpr (type == FloatType::f32) {
    const __m512i mask = _mm512_set1_epi32(0x7FFFFFFF);
    __m512i largest = _mm512_setzero_si512();
    for (std::int64_t i = 0; i < block_size; i += 16) {
      largest =
          _mm512_max_epi32(largest, _mm512_and_si512(_mm512_loadu_si512(static_cast<const float*>(source) + i), mask));
    }
    return std::bit_cast<float>(_mm512_reduce_max_epi32(largest));
  } else {
    const __m512i mask = _mm512_set1_epi16(0x7FFF);
    __m512i largest = _mm512_setzero_si512();
    for (std::int64_t i = 0; i < block_size; i += 32) {
      const auto* p = static_cast<const std::uint16_t*>(source) + i;
      largest = _mm512_max_epi16(largest, _mm512_and_si512(_mm512_loadu_si512(p), mask));
    }
    const __m512i odd = _mm512_srli_epi32(largest, 16);
    const __m512i even = _mm512_and_si512(largest, _mm512_set1_epi32(0xFFFF));
    const auto half = static_cast<std::uint16_t>(_mm512_reduce_max_epi32(_mm512_max_epi32(odd, even)));
    return type == FloatType::bf16 ? bf16_to_float(half) : f16_to_float(half);
  }
}

/// The midpoints, shifted so that a step of the search looks its midpoint up by the rank found so far.
struct Search {
  __m512 middle, by_four, by_two, by_one;

  explicit Search(const std::array<float, 15>& m) : middle(_mm512_set1_ps(m[7])) {
    const auto shifted = [&](std::size_t step) {
      alignas(64) float table[16] = {};
      for (std::size_t i = 0; i + step - 1 < m.size(); ++i) table[i] = m[i + step - 1];
      return _mm512_load_ps(table);
    };
    by_four = shifted(4);
    by_two = shifted(2);
    by_one = shifted(1);
  }

  __m512i rank(__m512 x) const {
    const auto step = [&](__m512i found, __m512 table, int size) {
      const __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_permutexvar_ps(found, table), _CMP_NLE_UQ);
      return _mm512_mask_add_epi32(found, above, found, _mm512_set1_epi32(size));
    };
    __m512i found = _mm512_maskz_set1_epi32(_mm512_cmp_ps_mask(x, middle, _CMP_NLE_UQ), 8);
    found = step(found, by_four, 4);
    found = step(found, by_two, 2);
    return step(found, by_one, 1);
  }
};

template <FloatType type>
void quantize_as(Code4 code, const void* source, std::int64_t n, std::int64_t block_size, std::uint8_t* packed,
                 float* absmax) {
  const Search search(code4_midpoints(code));
  const __m512i order =
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(code4_order(code).data())));
  for (std::int64_t begin = 0; begin < n; begin += block_size) {
    const float largest = block_absmax<type>(element_at(source, type, begin), block_size);
    *absmax++ = largest;
    const __m512 factor = _mm512_set1_ps(1.0f / (largest < 1e-38f ? 1e-38f : largest));
    const auto store8 = [&](std::int64_t i) {  // 16 values to 8 bytes
      const __m512i ranks = search.rank(_mm512_mul_ps(load16<type>(source, i), factor));
      const __m512i codes = _mm512_permutexvar_epi32(ranks, order);
      const __m512i pairs = _mm512_or_si512(_mm512_slli_epi64(codes, 4), _mm512_srli_epi64(codes, 32));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(packed + i / 2), _mm512_cvtepi64_epi8(pairs));
    };
    for (std::int64_t i = begin; i < begin + block_size; i += 32) {
      store8(i);
      store8(i + 16);
    }
  }
}

void quantize(Code4 code, const void* source, FloatType type, std::int64_t n, std::int64_t block_size,
              std::uint8_t* packed, float* absmax) {
  if (type == FloatType::f32) return quantize_as<FloatType::f32>(code, source, n, block_size, packed, absmax);
  if (type == FloatType::bf16) return quantize_as<FloatType::bf16>(code, source, n, block_size, packed, absmax);
  quantize_as<FloatType::f16>(code, source, n, block_size, packed, absmax);
}

/// 32 codes, one a byte, from 16 packed bytes.
__m256i unpack32(const std::uint8_t* packed) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed));
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i first = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
  const __m128i second = _mm_and_si128(bytes, mask);
  return _mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second));
}

void dequantize_f32(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n,
                    std::int64_t block_size, float* out) {
  const __m512 values = _mm512_loadu_ps(code4_values(code).data());
  for (std::int64_t begin = 0; begin < n; begin += block_size) {
    const __m512 table = _mm512_mul_ps(values, _mm512_set1_ps(*absmax++));
    for (std::int64_t i = begin; i < begin + block_size; i += 32) {
      const __m256i codes = unpack32(packed + i / 2);
      const __m512i front = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(codes));
      const __m512i back = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(codes, 1));
      _mm512_storeu_ps(out + i, _mm512_permutexvar_ps(front, table));
      _mm512_storeu_ps(out + i + 16, _mm512_permutexvar_ps(back, table));
    }
  }
}

__m256i round_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_set1_epi32(rounded, is_nan, 0x7FC0));
}

template <FloatType type>
void dequantize_16(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n, std::int64_t block_size,
                   std::uint16_t* out) {
  const __m512 values = _mm512_loadu_ps(code4_values(code).data());
  for (std::int64_t begin = 0; begin < n; begin += block_size) {
    const __m512 scaled = _mm512_mul_ps(values, _mm512_set1_ps(*absmax++));
    __m256i words;
    if constexpr (type == FloatType::bf16) {
      words = round_bf16(scaled);
    } else {
      words = _mm512_cvtps_ph(scaled, _MM_FROUND_TO_NEAREST_INT);
    }
    const __m512i table = _mm512_broadcast_i64x4(words);
    for (std::int64_t i = begin; i < begin + block_size; i += 32) {
      const __m512i index = _mm512_cvtepu8_epi16(unpack32(packed + i / 2));
      _mm512_storeu_si512(out + i, _mm512_permutexvar_epi16(index, table));
    }
  }
}

void dequantize(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n, std::int64_t block_size,
                FloatType type, void* out) {
  auto* half = static_cast<std::uint16_t*>(out);
  if (type == FloatType::f32) return dequantize_f32(code, packed, absmax, n, block_size, static_cast<float*>(out));
  if (type == FloatType::bf16) return dequantize_16<FloatType::bf16>(code, packed, absmax, n, block_size, half);
  dequantize_16<FloatType::f16>(code, packed, absmax, n, block_size, half);
}

}  // namespace

const Blockwise4bit kBlockwise4bitAvx512{quantize, dequantize};

}  // namespace lorica::kernels
