// Dequantizing tensors that lie on an NVIDIA GPU with a kernel of ours.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/blockwise_4bit.hpp"

namespace lorica::quant::cuda {

/// Whether dequantize_4bit takes this tensor: it lies on a CUDA device, and this build has the kernel.
bool has_kernel(const at::Tensor& packed);

/// As dequantize_4bit_composed, on the current stream of the tensors' device. packed and absmax contiguous; dtype
/// float32, bfloat16 or float16.
at::Tensor dequantize_4bit(kernels::Code4 code, const at::Tensor& packed, const at::Tensor& absmax, std::int64_t n,
                           std::int64_t block_size, at::ScalarType dtype);

}  // namespace lorica::quant::cuda
