// 4-bit quantization with AVX2, F16C: the same results as the reference, bit for bit.
//
// Quantize: a value's rank among the 15 midpoints is found by binary search in registers (four compares). Dequantize:
// a block's 16 possible results are computed once; the rest is table lookup.
#include <immintrin.h>

#include "kernels/blockwise_4bit_impl.hpp"

namespace lorica::kernels {
namespace {

__m256 load8(const float* p) {
  return _mm256_loadu_ps(p);
}
__m128i load8_raw(const std::uint16_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

template <FloatType type>
__m256 load8(const void* source, std::int64_t i) {
  if constexpr (type == FloatType::f32) return load8(static_cast<const float*>(source) + i);
  const __m128i raw = load8_raw(static_cast<const std::uint16_t*>(source) + i);
  if constexpr (type == FloatType::f16) return _mm256_cvtph_ps(raw);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
}

/// max |x| of a block, on bit patterns: they order as the magnitudes do, with NaN above infinity.
template <FloatType type>
float block_absmax(const void* source, std::int64_t block_size) {
  alignas(32) std::uint32_t words[8];
  if constexpr (type == FloatType::f32) {
    const __m256i mask = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i largest = _mm256_setzero_si256();
    for (std::int64_t i = 0; i < block_size; i += 8) {
      const auto* p = reinterpret_cast<const __m256i*>(static_cast<const float*>(source) + i);
      largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_loadu_si256(p), mask));
    }
    _mm256_store_si256(reinterpret_cast<__m256i*>(words), largest);
  } else {
    const __m256i mask = _mm256_set1_epi16(0x7FFF);
    __m256i largest = _mm256_setzero_si256();
    for (std::int64_t i = 0; i < block_size; i += 16) {
      const auto* p = reinterpret_cast<const __m256i*>(static_cast<const std::uint16_t*>(source) + i);
      largest = _mm256_max_epi16(largest, _mm256_and_si256(_mm256_loadu_si256(p), mask));
    }
    const __m256i odd = _mm256_srli_epi32(largest, 16);
    const __m256i even = _mm256_and_si256(largest, _mm256_set1_epi32(0xFFFF));
    _mm256_store_si256(reinterpret_cast<__m256i*>(words), _mm256_max_epi32(odd, even));
  }
  std::uint32_t bits = words[0];
  for (int k = 1; k < 8; ++k) bits = words[k] > bits ? words[k] : bits;
  if constexpr (type == FloatType::f32) return std::bit_cast<float>(bits);
  const auto half = static_cast<std::uint16_t>(bits);
  return type == FloatType::bf16 ? bf16_to_float(half) : f16_to_float(half);
}

/// The midpoints, arranged for the search. A comparison gives 0 or -1, so the search counts downwards, and the tables
/// are indexed by the low three bits of a negative number.
struct Search {
  __m256 middle, low, high, third, fourth;

  explicit Search(const std::array<float, 15>& m)
      : middle(_mm256_set1_ps(m[7])),
        low(_mm256_set1_ps(m[3])),
        high(_mm256_set1_ps(m[11])),
        third(_mm256_setr_ps(m[1], 0, 0, 0, 0, m[13], m[9], m[5])),
        fourth(_mm256_setr_ps(m[0], m[14], m[12], m[10], m[8], m[6], m[4], m[2])) {}

  /// Minus the rank of each value.
  __m256i negative_rank(__m256 x) const {
    const auto above = [&](__m256 midpoint) { return _mm256_cmp_ps(x, midpoint, _CMP_NLE_UQ); };
    const auto twice_plus = [](__m256i a, __m256 mask) {
      return _mm256_add_epi32(_mm256_add_epi32(a, a), _mm256_castps_si256(mask));
    };
    const __m256 first = above(middle);
    const __m256 second = above(_mm256_blendv_ps(low, high, first));
    __m256i index = twice_plus(_mm256_castps_si256(first), second);
    index = twice_plus(index, above(_mm256_permutevar8x32_ps(third, index)));
    return twice_plus(index, above(_mm256_permutevar8x32_ps(fourth, index)));
  }
};

__m128i pack32(__m256i a, __m256i b, __m256i c, __m256i d, __m256i order) {
  const __m256i words = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  const __m256i sorted = _mm256_permutevar8x32_epi32(words, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  const __m256i ranks = _mm256_sub_epi8(_mm256_setzero_si256(), sorted);
  const __m256i codes = _mm256_shuffle_epi8(order, ranks);
  // Neighbours a, b become 16·a + b in 16 bits.
  const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x0110));
  const __m256i bytes = _mm256_packus_epi16(pairs, pairs);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(bytes, 0x08));
}

template <FloatType type>
void quantize_as(Code4 code, const void* source, std::int64_t n, std::int64_t block_size, std::uint8_t* packed,
                 float* absmax) {
  const Search search(code4_midpoints(code));
  const __m256i order =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(code4_order(code).data())));
  for (std::int64_t begin = 0; begin < n; begin += block_size) {
    const float largest = block_absmax<type>(element_at(source, type, begin), block_size);
    *absmax++ = largest;
    const __m256 factor = _mm256_set1_ps(1.0f / (largest < 1e-38f ? 1e-38f : largest));
    const auto ranks = [&](std::int64_t i) {
      return search.negative_rank(_mm256_mul_ps(load8<type>(source, i), factor));
    };
    for (std::int64_t i = begin; i < begin + block_size; i += 32) {
      const __m128i bytes = pack32(ranks(i), ranks(i + 8), ranks(i + 16), ranks(i + 24), order);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(packed + i / 2), bytes);
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
  const __m256 low_values = load8(code4_values(code).data()), high_values = load8(code4_values(code).data() + 8);
  for (std::int64_t begin = 0; begin < n; begin += block_size) {
    const __m256 scale = _mm256_set1_ps(*absmax++);
    const __m256 low = _mm256_mul_ps(low_values, scale), high = _mm256_mul_ps(high_values, scale);
    const auto store8 = [&](std::int64_t i, __m128i codes) {
      const __m256i index = _mm256_cvtepu8_epi32(codes);
      const __m256 is_high = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));  // bit 3 becomes the sign
      _mm256_storeu_ps(out + i, _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index),
                                                 _mm256_permutevar8x32_ps(high, index), is_high));
    };
    for (std::int64_t i = begin; i < begin + block_size; i += 32) {
      const __m256i codes = unpack32(packed + i / 2);
      const __m128i front = _mm256_castsi256_si128(codes), back = _mm256_extracti128_si256(codes, 1);
      store8(i, front);
      store8(i + 8, _mm_srli_si128(front, 8));
      store8(i + 16, back);
      store8(i + 24, _mm_srli_si128(back, 8));
    }
  }
}

/// A block's 16 results in 16 bits, as a table of low bytes and one of high bytes (for byte shuffles).
struct Table16 {
  __m256i low, high;
};

__m256i round_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7FC0), is_nan);
}

template <FloatType type>
Table16 scaled_table(__m256 low_values, __m256 high_values, float absmax) {
  const __m256 scale = _mm256_set1_ps(absmax);
  const __m256 low = _mm256_mul_ps(low_values, scale), high = _mm256_mul_ps(high_values, scale);
  __m256i words;
  if constexpr (type == FloatType::bf16) {
    words = _mm256_permute4x64_epi64(_mm256_packus_epi32(round_bf16(low), round_bf16(high)), 0xD8);
  } else {
    words = _mm256_set_m128i(_mm256_cvtps_ph(high, _MM_FROUND_TO_NEAREST_INT),
                             _mm256_cvtps_ph(low, _MM_FROUND_TO_NEAREST_INT));
  }
  // Even bytes to the front of each half, odd bytes to its back; then the halves are joined.
  const __m256i split = _mm256_shuffle_epi8(
      words, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)));
  Table16 table;
  table.low = _mm256_permute4x64_epi64(split, 0x88);
  table.high = _mm256_permute4x64_epi64(split, 0xDD);
  return table;
}

template <FloatType type>
void dequantize_16(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n, std::int64_t block_size,
                   std::uint16_t* out) {
  const __m256 low_values = load8(code4_values(code).data()), high_values = load8(code4_values(code).data() + 8);
  for (std::int64_t begin = 0; begin < n; begin += block_size) {
    const Table16 table = scaled_table<type>(low_values, high_values, *absmax++);
    for (std::int64_t i = begin; i < begin + block_size; i += 32) {
      const __m256i codes = unpack32(packed + i / 2);
      const __m256i low = _mm256_shuffle_epi8(table.low, codes), high = _mm256_shuffle_epi8(table.high, codes);
      const __m256i outer = _mm256_unpacklo_epi8(low, high);  // values 0-7 and 16-23
      const __m256i inner = _mm256_unpackhi_epi8(low, high);  // values 8-15 and 24-31
      auto* target = reinterpret_cast<__m256i*>(out + i);
      _mm256_storeu_si256(target, _mm256_permute2x128_si256(outer, inner, 0x20));
      _mm256_storeu_si256(target + 1, _mm256_permute2x128_si256(outer, inner, 0x31));
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

const Blockwise4bit kBlockwise4bitAvx2{quantize, dequantize};

}  // namespace lorica::kernels
