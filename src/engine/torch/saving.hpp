// What a trained model leaves on disk: a PEFT adapter, or the weights of a whole model; and how it is read back.
#pragma once

#include <map>

#include "engine/torch/model_builder.hpp"

namespace lorica::engine {

/// Writes what was trained into `folder`: adapter_config.json + adapter_model.safetensors, or for a model without
/// adapter every weight under its checkpoint name, sharded at `shard_bytes`, with config.json and the tokenizer's files
/// copied.
void save_trained(const Model& model, const std::filesystem::path& folder, std::int64_t shard_bytes);

/// The trained tensors as they stand in a folder that save_trained wrote: by Parameter::name. Throws ModelError if one
/// is missing or has another shape.
std::map<std::string, at::Tensor> read_trained(const Model& model, const std::filesystem::path& folder);

/// The files of a model folder that are neither weights nor code: config.json, tokenizer, templates.
void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace lorica::engine
