// A stored weight as the CPU's matrix product reads it: in place, without a dense copy.
#pragma once

#include <vector>

#include "base/error.hpp"
#include "kernels/gemm.hpp"
#include "quant/weight.hpp"

namespace lorica::quant {

/// float32, bfloat16 or float16.
inline bool is_float_type(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
}

/// Error for other dtypes.
inline kernels::FloatType float_type(at::ScalarType dtype) {
  ensure(is_float_type(dtype), "{} is not a float type of the kernels", c10::toString(dtype));
  return dtype == at::kFloat      ? kernels::FloatType::f32
         : dtype == at::kBFloat16 ? kernels::FloatType::bf16
                                  : kernels::FloatType::f16;
}

/// Valid as long as the weight's tensors and this object live.
struct KernelWeight {
  kernels::MatrixSource source;  ///< [rows, columns] as stored
  std::vector<at::Tensor> held;  ///< what `source` reads beside the weight's own tensors
};

/// Whether kernels/gemm.hpp multiplies x [tokens, …] with this weight: float32 on a CPU whose instructions it is
/// written for, and for a dense weight rows enough to be worth packing it. ATen does the rest.
bool has_kernel(const at::Tensor& x, const StoredWeight& weight);

/// The weight as an operand; only where has_kernel() says so.
KernelWeight kernel_weight(const StoredWeight& weight);

/// A 2-dimensional float tensor on the CPU whose rows are contiguous, as an operand.
kernels::MatrixSource matrix_of(const at::Tensor& tensor);

}  // namespace lorica::quant
