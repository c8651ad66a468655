// What safetensors' dtypes are called in messages and in config.json.
#pragma once

#include <string_view>

#include "io/dtype.hpp"

namespace lorica::io {

/// "float32", "bfloat16", "uint8", …: PyTorch's names, without "torch.".
std::string_view plain_name(Dtype dtype);

}  // namespace lorica::io
