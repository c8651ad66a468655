// One entry per model family: the config keys, defaults and layer shape that set it apart from the others.
#pragma once

#include <string>
#include <vector>

#include "model/architecture.hpp"
#include "model/architecture_config.hpp"

namespace lorica::model {

/// What transformers assumes when a key is absent from config.json (a null is something else: see parse_architecture).
struct FamilyDefaults {
  int64_t kv_heads = 0;  ///< 0 = as many as heads
  int64_t head_dim = 0;  ///< 0 = hidden_size / heads
  int64_t max_positions = 0;
  std::vector<int64_t> eos_ids;
};

struct Family {
  std::string name;  ///< model_type
  FamilyDefaults defaults;
  std::vector<std::string> default_targets;  ///< PEFT's choice when no target modules are named
  /// Fills biases, norms and sliding windows. The sizes of `architecture` are already read and checked.
  void (*read)(const ConfigReader& config, Architecture& architecture);
};

Family llama_family();
Family mistral_family();
Family qwen2_family();
Family qwen3_family();

/// Sliding windows as Qwen2 and Qwen3 state them: layer_types when given, else use_sliding_window with every layer from
/// max_window_layers on.
std::vector<int64_t> read_layer_windows(const ConfigReader& config, int64_t layers);

}  // namespace lorica::model
