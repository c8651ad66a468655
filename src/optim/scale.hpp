// Multiplication by a number that keeps the number's precision.
#pragma once

#include <ATen/ScalarOps.h>
#include <ATen/core/Tensor.h>

namespace lorica::optim {

/// tensor *= factor, in place; returns the tensor. ATen's own mul_(Scalar) hands the number over as the first operand,
/// where its CPU kernel rounds it to the tensor's dtype: in bfloat16 0.999 becomes 1. As the second operand, which is
/// what PyTorch's Python does, it stays float32.
inline at::Tensor& scale(at::Tensor& tensor, double factor) {
  return tensor.mul_(at::native::wrapped_scalar_tensor(factor));
}

}  // namespace lorica::optim
