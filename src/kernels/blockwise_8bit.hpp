// Blockwise 8-bit quantization with the dynamic map: how double quantization keeps the absmax of 4-bit blocks.
//
// The map: dynamic tree quantization (Dettmers 2015, https://arxiv.org/abs/1511.04561). Bytes and statistics equal
// bitsandbytes 0.50's on its CPU, which finds the code by a table of 2¹⁶ steps over [-1, 1] instead of the nearest
// entry, so that values near a midpoint may take its other side:
//   absmax[b] = max |x| of the block;  if it is 0, all codes are 0
//   v         = clamp(x × (1 / absmax), -1, 1), in float32
//   step      = trunc(fma((v + 1) × 0.5, 65535, 0.5))
//   code      = how many midpoints between neighbouring map entries are < 2·step/65535 − 1, in float32
//   value     = map[code] × absmax, rounded to float32, then + offset, rounded again
#pragma once

#include <array>
#include <cstdint>

namespace lorica::kernels {

/// The 256 entries of the signed 8-bit dynamic map, rising. Equal to bitsandbytes' bit for bit on CPUs with AVX2 or
/// better (its map is computed with PyTorch's linspace, whose last bits depend on the instruction set).
const std::array<float, 256>& dynamic_map();

/// source: n finite values; out: n codes; absmax: one for each started block.
void quantize_8bit(const float* source, std::int64_t n, std::int64_t block_size, std::uint8_t* out, float* absmax);

/// out: n values. `map` has 256 entries (a checkpoint may bring its own).
void dequantize_8bit(const std::uint8_t* codes, const float* map, const float* absmax, std::int64_t n,
                     std::int64_t block_size, float offset, float* out);

}  // namespace lorica::kernels
