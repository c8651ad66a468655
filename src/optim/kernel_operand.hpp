// Which tensors kernels/adam.hpp works on.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/mode.hpp"

namespace lorica::optim {

/// float32, contiguous, on a CPU whose instructions the kernels are written for. ATen does the rest.
inline bool kernels_take(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous() && kernels::has_kernels();
}

}  // namespace lorica::optim
