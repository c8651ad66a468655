// 4-bit weights back to values on an NVIDIA GPU; only in builds with CUDA. Formats: kernels/blockwise_4bit.hpp.
#pragma once

#include "kernels/blockwise_4bit.hpp"

namespace lorica::kernels::cuda {

/// kernels::dequantize_4bit with all pointers in the memory of the current device; block_size a multiple of 32. Queued
/// on `stream` (a cudaStream_t); returns before it has run: nullptr, or why it could not be queued. (It doesn't throw,
/// because nvcc can't compile fmt.)
const char* dequantize_4bit(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n,
                            std::int64_t block_size, FloatType type, void* out, void* stream);

}  // namespace lorica::kernels::cuda
