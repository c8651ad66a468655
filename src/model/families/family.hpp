// One entry per model family: the config keys, defaults and layer shape that set it apart from the others.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/architecture.hpp"
#include "model/architecture_config.hpp"

namespace lorica::model {

/// What transformers assumes when a key is absent from config.json (a null is something else: see parse_architecture),
/// and which keys a family has. The defaults here are Llama's.
struct FamilyDefaults {
  int64_t kv_heads = 0;  ///< 0 = as many as heads
  int64_t head_dim = 0;  ///< 0 = hidden_size / heads
  int64_t max_positions = 2048;
  std::vector<int64_t> eos_ids = {};
  bool tied_embeddings = false;
  std::string activation_key = "hidden_act";
  ActivationKind activation = ActivationKind::silu;
  NormKind norm = NormKind::rms;
  std::string norm_eps_key = "rms_norm_eps";
  double norm_eps = 1e-6;
  double rope_theta = 10000.0;
  std::optional<double> partial_rotary_factor = {};  ///< empty: heads are rotated whole, and the key is refused
  int64_t original_max_positions = 0;                ///< 0 = max_positions
  std::map<std::string, std::string> rope_type_aliases = {};
};

struct Family {
  std::string name;                                              ///< model_type
  std::vector<std::string> default_targets{"q_proj", "v_proj"};  ///< PEFT's choice when no target modules are named
  FamilyDefaults defaults;
  /// Changes what sets the family apart. `architecture` is already that of a Llama with the config's sizes: pre-norm
  /// layers of attention without biases over all earlier tokens, and a gated feed-forward part.
  void (*read)(const ConfigReader& config, Architecture& architecture);
};

/// All of them, in the order of messages.
const std::vector<Family>& families();

Family llama_family();
Family mistral_family();
Family qwen2_family();
Family qwen3_family();
Family phi3_family();
Family gemma2_family();

/// A norm like the layers' others, under another name.
NormSpec norm_like(const std::optional<NormSpec>& norm, const std::string& name);

/// A soft cap: `fallback` if the key is absent, 0 (none) for a null.
double read_softcap(const ConfigReader& config, const std::string& key, double fallback);

/// Refuses attention that isn't causal (use_bidirectional_attention).
void refuse_bidirectional(const ConfigReader& config);

/// `sliding_window`, or `fallback` if it is absent; 0 for a null.
int64_t read_window(const ConfigReader& config, int64_t fallback);

/// Gives the layers that `layer_types` calls sliding_attention that window. `window` 0: there is none, and to ask for
/// it is an error.
void set_windows_by_type(const ConfigReader& config, int64_t window, Architecture& architecture);

/// Sliding windows as Qwen2 and Qwen3 state them: layer_types when given, else use_sliding_window with every layer from
/// max_window_layers on.
void read_layer_windows(const ConfigReader& config, Architecture& architecture);

}  // namespace lorica::model
