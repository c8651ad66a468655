// 4-bit quantization composed of ATen operations: what runs on devices that have no kernel of ours (CUDA, MPS), and the
// oracle that the kernels are tested against. Formulas: kernels/blockwise_4bit.hpp.
#pragma once

#include <ATen/ATen.h>

#include <utility>

#include "kernels/blockwise_4bit.hpp"

namespace lorica::quant {

/// values: any shape, f32, bf16 or f16, on any device. Returns packed uint8 [ceil(n/2)] and absmax f32 [blocks].
std::pair<at::Tensor, at::Tensor> quantize_4bit_composed(kernels::Code4 code, const at::Tensor& values,
                                                         std::int64_t block_size);

/// packed uint8 [ceil(n/2)], absmax f32 [blocks] -> [n] of `dtype`.
at::Tensor dequantize_4bit_composed(kernels::Code4 code, const at::Tensor& packed, const at::Tensor& absmax,
                                    std::int64_t n, std::int64_t block_size, at::ScalarType dtype);

/// The absmax of a double-quantized weight: codes u8 [blocks], map f32 [256], nested_absmax f32 [ceil(blocks/256)]
/// -> f32 [blocks].
at::Tensor dequantize_absmax_composed(const at::Tensor& codes, const at::Tensor& map, const at::Tensor& nested_absmax,
                                      float offset);

}  // namespace lorica::quant
