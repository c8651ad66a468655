// What a model is made of: the figures of its config.json, and the list of blocks and parameters that follows from
// them.
//
// One table entry per family (families/*.cpp) knows its config keys and defaults, which are those of transformers 5.23.
// Everything below works on `Architecture` and never asks for the family's name. Free of Torch.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/account.hpp"
#include "model/block_spec.hpp"
#include "model/layer_spec.hpp"

namespace lorica::model {

/// A decoder-only transformer. Layers may differ.
struct Architecture {
  std::string family;  ///< config.json's model_type, for messages
  int64_t hidden_size = 0;
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  bool tied_embeddings = false;
  EmbeddingSpec embedding;
  std::vector<LayerSpec> layers;
  HeadSpec head;
  std::vector<RopeSpec> ropes;               ///< what AttentionSpec::rope counts
  std::vector<std::string> default_targets;  ///< what LoRA trains when no target modules are named: PEFT's choice
  double initializer_range = 0.02;
  std::string dtype;             ///< "float32", "bfloat16", "float16", or "" when config.json doesn't say
  std::vector<int64_t> eos_ids;  ///< may be empty
  nlohmann::json raw;            ///< the whole config.json
  Account account;               ///< its keys that nothing here uses

  int64_t layer_count() const { return static_cast<int64_t>(layers.size()); }
};

/// Reads `model_folder`/config.json. Throws FileError when it can't be read, ModelError (naming the file and the key)
/// when it is not JSON, the model type is unknown, a key is missing or has the wrong type, a size is not positive,
/// heads is no multiple of kv_heads, the activation or the rope type is unknown, or a key decides the model's numbers
/// that the family has no use for (see config_keys.hpp).
Architecture read_architecture(const std::filesystem::path& model_folder);

/// The same from a parsed config; `origin` names it in messages.
Architecture parse_architecture(const nlohmann::json& config, const std::string& origin);

/// The model types that read_architecture knows.
std::vector<std::string> known_families();

/// The linear layers of the decoder by their last name, in the order of the first layer that has them: q_proj, k_proj,
/// …, down_proj.
std::vector<std::string> projection_names(const std::vector<BlockSpec>& blocks);

/// embedding, decoder layers in order, head (final norm and lm_head).
std::vector<BlockSpec> describe_blocks(const Architecture& architecture);

/// Elements of all parameters; a tied head counts once.
int64_t parameter_count(const Architecture& architecture);

}  // namespace lorica::model
