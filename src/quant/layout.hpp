// Sizes and dtypes that the files of quant/ share. Internal to quant/.
#pragma once

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "kernels/blockwise_4bit.hpp"
#include "quant/kernel_weight.hpp"

namespace lorica::quant {

inline kernels::Code4 code_of(Kind kind) {
  return kind == Kind::nf4 ? kernels::Code4::nf4 : kernels::Code4::fp4;
}

}  // namespace lorica::quant
