// LoRA adapters as PEFT's files have them: adapter_config.json and adapter_model.safetensors, read and written.
// Field meanings: PEFT's LoraConfig (checked against PEFT 0.21.2 by tests/parity/test_peft_adapter.py).
//
// A "module path" is the module's name in the base checkpoint without ".weight": "model.layers.0.self_attn.q_proj".
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/account.hpp"
#include "io/safetensors.hpp"

namespace lorica::io {

inline constexpr const char* kAdapterConfigFile = "adapter_config.json";
inline constexpr const char* kAdapterWeightsFile = "adapter_model.safetensors";

struct AdapterConfig {
  std::string base_model_name_or_path;
  std::optional<std::string> revision;
  std::optional<std::string> task_type = "CAUSAL_LM";
  bool inference_mode = true;
  std::int64_t rank = 8;    ///< r
  double alpha = 8;         ///< lora_alpha
  double dropout = 0;       ///< lora_dropout
  bool use_rslora = false;  ///< scale alpha / sqrt(r) in place of alpha / r
  bool use_dora = false;
  std::vector<std::string> target_modules;   ///< names or path suffixes; empty if target_regex is set
  std::optional<std::string> target_regex;   ///< target_modules given as one string: fullmatch over the path
  std::vector<std::string> exclude_modules;  ///< names or path suffixes that are left alone
  std::optional<std::string> exclude_regex;
  std::vector<std::string> modules_to_save;  ///< modules trained and saved whole
  std::optional<std::vector<std::int64_t>> layers_to_transform;
  std::vector<std::string> layers_pattern;           ///< names of the layer list, e.g. "layers"
  std::map<std::string, std::int64_t> rank_pattern;  ///< regex of a path's end → rank
  std::map<std::string, double> alpha_pattern;
  nlohmann::ordered_json init_lora_weights = true;  ///< only how it began; kept as it is
  nlohmann::ordered_json other =
      nlohmann::ordered_json::object();  ///< fields that we don't know or that don't matter, kept
  Account account;                       ///< those of them that are set and do nothing here
};

/// Reads and checks adapter_config.json. Throws FileError / ModelError naming the file and the field: not LoRA, a wrong
/// type, rank < 1, or a feature that would change the numbers and isn't supported (bias, fan_in_fan_out, lora_bias,
/// aLoRA, QA-LoRA, target_parameters, trainable_token_indices, layer_replication, initialisations that alter the base
/// weights, …). A field that no PEFT up to 0.21 has, and those that only training with PEFT knows, are left aside in
/// the account. `allow_dora` accepts use_dora.
AdapterConfig read_adapter_config(const std::filesystem::path& file, bool allow_dora = false);
AdapterConfig parse_adapter_config(const nlohmann::json& json, const std::string& source, bool allow_dora = false);

/// PEFT's own JSON (all fields of 0.21's LoraConfig, sorted keys), which every PEFT since 0.5 reads.
nlohmann::ordered_json to_json(const AdapterConfig& config);
void write_adapter_config(const std::filesystem::path& file, const AdapterConfig& config);

/// What PEFT does with each module path: whether it gets a LoRA pair, is trained whole, and with which rank and scale.
class AdapterMatcher {
 public:
  /// Throws ModelError for a pattern that isn't a regular expression. `source` is what messages call the config.
  AdapterMatcher(const AdapterConfig& config, const std::string& source);
  ~AdapterMatcher();
  AdapterMatcher(AdapterMatcher&&) noexcept;
  /// target_modules, exclude_modules, layers_to_transform and layers_pattern say yes, modules_to_save says no.
  bool is_target(const std::string& module) const;
  /// The last names of the path are an entry of modules_to_save.
  bool is_saved_whole(const std::string& module) const;
  std::int64_t rank(const std::string& module) const;
  double alpha(const std::string& module) const;
  /// alpha / r, or alpha / sqrt(r) for rsLoRA (Kalajdzievski 2023).
  double scale(const std::string& module) const;
  /// Entries of target_modules and modules_to_save that match none of `modules` (a typing error that must not pass
  /// silently); target_regex if it matches none.
  std::vector<std::string> unmatched(const std::vector<std::string>& modules) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The module path of a parameter: "model.layers.3.self_attn.q_proj" of "model.layers.3.self_attn.q_proj.weight".
std::string module_of(const std::string& parameter);

/// What one tensor of adapter_model.safetensors is.
enum class AdapterTensorKind { lora_a, lora_b, lora_magnitude, saved_module };
struct AdapterTensorName {
  std::string module;  ///< module path
  AdapterTensorKind kind;
  std::string parameter;  ///< of a saved module: "weight" or "bias"; else ""
  bool operator==(const AdapterTensorName&) const = default;
};

/// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" and so on. A is [r, in], B [out, r], the magnitude
/// [out].
std::string lora_a_key(const std::string& module);
std::string lora_b_key(const std::string& module);
std::string lora_magnitude_key(const std::string& module);
std::string saved_module_key(const std::string& module, const std::string& parameter = "weight");

/// The inverse. Accepts keys with an adapter's name in them (".lora_A.default.weight",
/// ".modules_to_save.default.weight") as raw state dicts have. Throws ModelError naming `source` for a key of another
/// form (no "base_model.model." prefix, lora_embedding_A, …).
AdapterTensorName parse_adapter_key(const std::string& key, const std::string& source);

/// An adapter folder, opened: config, and tensors by module.
class AdapterFiles {
 public:
  struct Lora {
    const TensorView* a = nullptr;          ///< [r, in]
    const TensorView* b = nullptr;          ///< [out, r]
    const TensorView* magnitude = nullptr;  ///< [out], DoRA only
  };
  /// Throws FileError / ModelError: no such folder, no adapter_config.json, only adapter_model.bin (a pickle: not
  /// executed), half a pair, ranks that disagree with the config, a tensor that isn't two-dimensional, an empty
  /// adapter.
  explicit AdapterFiles(const std::filesystem::path& folder, bool allow_dora = false);
  const AdapterConfig& config() const { return config_; }
  const AdapterMatcher& matcher() const { return matcher_; }
  const std::filesystem::path& folder() const { return folder_; }
  const std::map<std::string, Lora>& pairs() const { return pairs_; }  ///< by module path
  /// Whole tensors by checkpoint name ("lm_head.weight"): those of modules_to_save, and embeddings that PEFT saved
  /// beside the pairs (save_embedding_layers), which replace the base model's.
  const std::map<std::string, const TensorView*>& saved() const { return saved_; }

 private:
  std::filesystem::path folder_;
  AdapterConfig config_;
  AdapterMatcher matcher_;
  SafetensorsFile file_;
  std::map<std::string, Lora> pairs_;
  std::map<std::string, const TensorView*> saved_;
};

}  // namespace lorica::io
