// What a model folder says of how its weights are stored: the "quantization_config" of config.json, and what the names
// of its tensors give away. (The architecture's own fields are model/'s business.)
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/account.hpp"

namespace lorica::io {

class WeightFiles;

/// transformers' BitsAndBytesConfig, as far as it decides how its weights are read.
struct BitsAndBytesConfig {
  std::string quant_type = "fp4";         ///< bnb_4bit_quant_type: "nf4" or "fp4" (transformers' default is fp4)
  bool double_quantization = false;       ///< bnb_4bit_use_double_quant
  std::string compute_dtype = "float32";  ///< bnb_4bit_compute_dtype, without "torch."
  std::string storage_dtype = "uint8";    ///< bnb_4bit_quant_storage, without "torch."
  std::vector<std::string>
      skip_modules;         ///< llm_int8_skip_modules: modules left in 16 bits; null means the output head
  bool eight_bits = false;  ///< load_in_8bit; what is said of 4 bits then means nothing
  bool operator==(const BitsAndBytesConfig&) const = default;
};

/// Reads "quantization_config" of a parsed config.json (or "compression_config", its older name). nullopt if the model
/// isn't quantized. Throws ModelError naming the file and the key, what quantized the weights and what to do instead:
/// another method than bitsandbytes' two, a value out of its choices, a key of the wrong type. Keys that nothing
/// uses go to `account`.
std::optional<BitsAndBytesConfig> read_quantization_config(const nlohmann::json& config, const std::string& source,
                                                           Account* account = nullptr);

/// Whether llm_int8_skip_modules leaves `module` ("model.layers.0.mlp.down_proj") as it was, by transformers' rule: an
/// entry is a name or expression that fits the path's beginning up to a dot, or its end.
bool skips_module(const BitsAndBytesConfig& config, const std::string& module);

/// For a checkpoint whose config.json says nothing: what quantized the weight of `module`, by the tensors beside it or
/// its element type, and what to do, as a sentence; "" if nothing speaks of it.
std::string quantization_of(const WeightFiles& files, const std::string& module);

/// The same entry to be written into config.json, so that transformers loads the folder.
nlohmann::ordered_json to_json(const BitsAndBytesConfig& config);

}  // namespace lorica::io
