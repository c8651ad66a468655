// Stored weights as something that can be cut: their parts, known before any of them exists, one after the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json.hpp>

#include <vector>

#include "engine/torch/parameter_store.hpp"
#include "parallel/shard_layout.hpp"
#include "quant/format.hpp"

namespace lorica::engine {

/// The tensors of a weight, from its format and shape alone.
std::vector<quant::PartSpec> parts_of(const quant::StoredWeight& weight);

/// The layout of all parts of these parameters, one parameter after the other.
parallel::ShardLayout layout_of(const std::vector<Parameter>& parameters, int shards);

/// Writes what `shard` holds of these parameters (whole ones, on the CPU) to `chunk`, uint8 [layout.chunk_bytes()].
void cut_chunk(const std::vector<Parameter>& parameters, const parallel::ShardLayout& layout, int shard,
               const at::Tensor& chunk);

/// Names, formats and shapes without the tensors, as text for other processes; and back.
nlohmann::json describe(const std::vector<Parameter>& parameters);
std::vector<Parameter> from_description(const nlohmann::json& description);

}  // namespace lorica::engine
