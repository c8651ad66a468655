// Element types as the safetensors format names them.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace lorica::io {

enum class Dtype { f64, f32, f16, bf16, f8_e4m3, f8_e5m2, i64, i32, i16, i8, u64, u32, u16, u8, boolean };

std::size_t dtype_size(Dtype dtype);       ///< bytes per element
std::string_view dtype_name(Dtype dtype);  ///< "F32", "BF16", "U8", …
std::optional<Dtype> parse_dtype(std::string_view name);

}  // namespace lorica::io
