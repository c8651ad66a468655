// What a trained model leaves on disk: a PEFT adapter, or the weights of a whole model.
#pragma once

#include <filesystem>
#include <string>

#include "engine/torch/model_builder.hpp"
#include "io/sharded_writer.hpp"

namespace lorica::engine {

/// Writes what was trained into `folder`: adapter_config.json + adapter_model.safetensors, or for a model without
/// adapter every weight under its checkpoint name, sharded at `shard_bytes`, with config.json and the tokenizer's files
/// (write_companions). Reads the weights back and throws Error if it isn't what was written. Collective over `world`
/// (null: one process): the first process writes, one tensor at a time.
void save_trained(Model& model, parallel::World* world, const std::filesystem::path& folder, std::int64_t shard_bytes);

/// The file in such a folder that holds this parameter, and its name there.
std::string saved_name(const Model& model, const std::string& parameter);

/// What belongs beside `weights`, which are written into `to`: the files of the model folder `from` that are neither
/// weights nor code (tokenizer, templates, generation_config.json), and its config.json as it is true for what was
/// written (io/saved_config.hpp).
void write_companions(const std::filesystem::path& from, const model::Architecture& architecture,
                      const io::ShardedWriter& weights, const std::filesystem::path& to);

}  // namespace lorica::engine
