// Which tensors our CPU kernels take. Internal to model/ops/.
#pragma once

#include <ATen/ATen.h>

#include "kernels/mode.hpp"
#include "quant/kernel_weight.hpp"

namespace lorica::model {

/// Values in float32 or bfloat16 on a CPU whose instructions the kernels are written for. ATen does the rest.
inline bool kernels_take(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.numel() > 0 &&
         kernels::has_kernels();
}

inline kernels::FloatType type_of(const at::Tensor& x) {
  return quant::float_type(x.scalar_type());
}

}  // namespace lorica::model
