// A stored weight as something that can be cut: its tensors (values, absmax and nested state of a quantized weight)
// with their shapes, known before any of them exists.
#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json.hpp>

#include <span>
#include <vector>

#include "engine/torch/parameter_store.hpp"
#include "parallel/shard_layout.hpp"

namespace lorica::engine {

/// One tensor of a StoredWeight. Dense weights are cut by rows (dimension 0), quantized ones by quantization blocks,
/// and their statistics with them.
struct WeightPart {
  at::Tensor quant::StoredWeight::*member;
  at::ScalarType dtype;
  std::vector<std::int64_t> shape;
  parallel::SplitTensor split;
};

/// From format and shape alone.
std::vector<WeightPart> parts_of(const quant::StoredWeight& weight);

/// The layout of all parts of these parameters, one parameter after the other.
parallel::ShardLayout layout_of(const std::vector<Parameter>& parameters, int shards);

/// Writes what `shard` holds of these parameters (whole ones, on the CPU) to `chunk`, uint8 [layout.chunk_bytes()].
void cut_chunk(const std::vector<Parameter>& parameters, const parallel::ShardLayout& layout, int shard,
               const at::Tensor& chunk);

/// Names, formats and shapes without the tensors, as text for other processes; and back.
nlohmann::json describe(const std::vector<Parameter>& parameters);
std::vector<Parameter> from_description(const nlohmann::json& description);

}  // namespace lorica::engine
