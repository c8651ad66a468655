// Between LibTorch's tensors and safetensors files.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "io/safetensors.hpp"

namespace lorica::engine {

at::ScalarType scalar_type(io::Dtype dtype);
io::Dtype file_dtype(at::ScalarType type);

/// A copy on the CPU.
at::Tensor to_tensor(const io::TensorView& view);

/// Saves tensors (any device) in one file.
void save_tensors(const std::filesystem::path& file, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                  const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace lorica::engine
