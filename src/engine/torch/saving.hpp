// What a trained model leaves on disk: a PEFT adapter, or the weights of a whole model.
#pragma once

#include <filesystem>
#include <string>

#include "engine/torch/model_builder.hpp"

namespace lorica::engine {

/// Writes what was trained into `folder`: adapter_config.json + adapter_model.safetensors, or for a model without
/// adapter every weight under its checkpoint name, sharded at `shard_bytes`, with config.json and the tokenizer's files
/// copied. Reads it back and throws Error if it isn't what was written. Collective over `world` (null: one process):
/// the first process writes, one tensor at a time.
void save_trained(Model& model, parallel::World* world, const std::filesystem::path& folder, std::int64_t shard_bytes);

/// The file in such a folder that holds this parameter, and its name there.
std::string saved_name(const Model& model, const std::string& parameter);

/// The files of a model folder that are neither weights nor code: config.json, tokenizer, templates.
void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace lorica::engine
