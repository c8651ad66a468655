// Small model folders, configurations and batches for the engine's tests.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "base/temporary_folder.hpp"
#include "config/config.hpp"
#include "data/micro_batch.hpp"
#include "engine/torch/tensor_io.hpp"
#include "io/json.hpp"
#include "io/safetensors.hpp"
#include "model/architecture.hpp"
#include "model/gradient_check.hpp"

namespace lorica::test {

/// A config.json of that family: 4 layers, grouped heads, head_dim 8, vocabulary 97.
inline nlohmann::json tiny_architecture(const std::string& family) {
  nlohmann::json config{{"model_type", family},
                        {"hidden_size", 32},
                        {"intermediate_size", 48},
                        {"num_hidden_layers", 4},
                        {"num_attention_heads", 4},
                        {"num_key_value_heads", 2},
                        {"head_dim", 8},
                        {"vocab_size", 97},
                        {"max_position_embeddings", 128},
                        {"rms_norm_eps", 1e-5},
                        {"tie_word_embeddings", family == "qwen3"},
                        {"eos_token_id", 2}};
  if (family == "mistral") config["sliding_window"] = 5;
  return config;
}

using TensorMap = std::map<std::string, at::Tensor>;

/// Seeded random weights for every parameter of `config`.
inline TensorMap random_weights(const nlohmann::json& config, double spread = 0.2) {
  TensorMap tensors;
  std::uint64_t seed = 1;
  for (const auto& block : model::describe_blocks(model::parse_architecture(config, "config.json"))) {
    for (const auto& spec : block.parameters) {
      if (spec.tied) continue;
      auto value = normal(spec.shape, seed++) * spread;
      tensors[spec.checkpoint_name] = spec.role == model::Role::norm ? value + spec.neutral : value;
    }
  }
  return tensors;
}

inline void write_model(const std::filesystem::path& folder, const nlohmann::json& config, const TensorMap& tensors) {
  std::filesystem::create_directories(folder);
  io::write_json(folder / "config.json", config);
  engine::save_tensors(folder / "model.safetensors", {tensors.begin(), tensors.end()});
}

inline std::string tiny_model(const std::filesystem::path& folder, const std::string& family) {
  const auto config = tiny_architecture(family);
  write_model(folder, config, random_weights(config));
  return folder.string();
}

/// Float32 on the CPU; LoRA of rank 4 on every projection, without dropout.
inline config::Config tiny_config(const std::string& model, config::TrainType type) {
  config::Config config;
  config.model_name = model;
  config.backend = config::Backend::cpu;
  config.train_type = type;
  config.precision = config::Precision::fp32;
  config.lora_rank = 4;
  config.lora_alpha = 8;
  config.lora_dropout = 0;
  config.seed = 3;
  config.check_memory = false;
  config.logits_chunk_mb = 1;
  return config;
}

/// Random token ids in sequences of these lengths; the first third of each carries no loss.
inline data::MicroBatch batch_of(const std::vector<std::int32_t>& lengths, std::int64_t first_example = 10,
                                 std::int32_t vocabulary = 97) {
  data::MicroBatch batch;
  batch.offsets.push_back(0);
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    const auto example = first_example + static_cast<std::int64_t>(s);
    const auto key = random_key({17, static_cast<std::uint64_t>(example)});
    const auto token = [&](std::int32_t i) {
      return static_cast<std::int32_t>(
          random_below(key, static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(vocabulary)));
    };
    for (std::int32_t i = 0; i < lengths[s]; ++i) {
      batch.input_ids.push_back(token(i));
      batch.labels.push_back(i < lengths[s] / 3 || i + 1 == lengths[s] ? data::kIgnoreLabel : token(i + 1));
      batch.positions.push_back(i);
    }
    batch.offsets.push_back(batch.offsets.back() + lengths[s]);
    batch.examples.push_back(example);
  }
  return batch;
}

}  // namespace lorica::test
