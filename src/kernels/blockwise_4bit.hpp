// Blockwise 4-bit quantization, NF4 and FP4: weights to packed codes and back.
//
// Formats: NF4 from QLoRA (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314, appendix E), FP4 (1 sign, 2
// exponent, 1 mantissa bit) from bitsandbytes. Bytes and statistics equal those that bitsandbytes 0.50 computes on its
// CPU. A tensor is n values in memory order, cut into blocks of `block_size`; the last may be shorter.
//   absmax[b]  = max |x| of the block, in float32; for a last, shorter block not less than 1e-38
//   scaled     = x × (1 / max(absmax, 1e-38)), both operations rounded to float32; in a last, shorter block the
//                quotient x / absmax instead
//   code       = how many of the 15 midpoints between neighbouring code values are < scaled (so a tie takes the
//                lower value); FP4 then maps that rank to its bit pattern
//   packed[i]  = code(2i) << 4 | code(2i+1); with n odd the last low nibble is the code of 0
//   value      = code value × absmax, rounded to float32, then once more to the output type
// A NaN makes its block's absmax NaN. Inputs of 16 bits are widened first, which is exact.
//
// Where bitsandbytes differs from this: its AVX-512 build mixes up the blocks' absmax when it dequantizes a matrix
// whose row length is not a multiple of block_size; and its CUDA quantizer has other (rounded) midpoints, so that codes
// at ties may differ by one.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/float_type.hpp"

namespace lorica::kernels {

enum class Code4 { nf4, fp4 };

/// What each of the 16 codes stands for, in [-1, 1], by bit pattern.
const std::array<float, 16>& code4_values(Code4 code);
/// The 15 midpoints in rising order, and the bit pattern of each of the 16 ranks.
const std::array<float, 15>& code4_midpoints(Code4 code);
const std::array<std::uint8_t, 16>& code4_order(Code4 code);

constexpr std::int64_t block_count(std::int64_t n, std::int64_t block_size) {
  return (n + block_size - 1) / block_size;
}
constexpr std::int64_t packed_bytes(std::int64_t n) {
  return (n + 1) / 2;
}

/// source: n values of `type`; packed: packed_bytes(n); absmax: block_count(n, block_size). block_size must be a
/// positive multiple of 32 (Error otherwise). Runs on all threads; the result does not depend on their number.
void quantize_4bit(Code4 code, const void* source, FloatType type, std::int64_t n, std::int64_t block_size,
                   std::uint8_t* packed, float* absmax);

/// The other way: `out` gets n values of `type`.
void dequantize_4bit(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n,
                     std::int64_t block_size, FloatType type, void* out);

}  // namespace lorica::kernels
