// Sizes and dtypes that the files of quant/ share. Internal to quant/.
#pragma once

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "kernels/blockwise_4bit.hpp"
#include "kernels/float_type.hpp"
#include "quant/weight.hpp"

namespace lorica::quant {

inline kernels::Code4 code_of(Kind kind) {
  return kind == Kind::nf4 ? kernels::Code4::nf4 : kernels::Code4::fp4;
}

inline bool is_float_type(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
}

inline kernels::FloatType float_type(at::ScalarType dtype) {
  ensure(is_float_type(dtype), "{} is not a float type of the kernels", c10::toString(dtype));
  return dtype == at::kFloat      ? kernels::FloatType::f32
         : dtype == at::kBFloat16 ? kernels::FloatType::bf16
                                  : kernels::FloatType::f16;
}

}  // namespace lorica::quant
