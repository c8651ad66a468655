// What dtypes are called in messages, facts and files for people.
#pragma once

#include <c10/core/ScalarType.h>

#include <string_view>

namespace lorica::quant {

/// "float32", "bfloat16", "uint8", …: PyTorch's names, without "torch.".
std::string_view dtype_name(at::ScalarType type);

}  // namespace lorica::quant
