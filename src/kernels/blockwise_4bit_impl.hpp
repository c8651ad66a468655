// The implementations behind kernels/blockwise_4bit.hpp, one pair for each instruction set. Internal to kernels/.
//
// All take whole blocks: n is a multiple of block_size, block_size of 32. The reference also takes a shorter last
// block.
#pragma once

#include "kernels/blockwise_4bit.hpp"

namespace lorica::kernels {

struct Blockwise4bit {
  void (*quantize)(Code4 code, const void* source, FloatType type, std::int64_t n, std::int64_t block_size,
                   std::uint8_t* packed, float* absmax);
  void (*dequantize)(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n,
                     std::int64_t block_size, FloatType type, void* out);
};

extern const Blockwise4bit kBlockwise4bitReference, kBlockwise4bitAvx2, kBlockwise4bitAvx512;

}  // namespace lorica::kernels
