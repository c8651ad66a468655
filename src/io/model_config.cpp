#include "io/model_config.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "io/json.hpp"

namespace lorica::io {
namespace {

/// A string key that must be one of a few values; "torch." in front is dropped.
std::string choice(const JsonFields& fields, const std::string& key, const std::string& fallback,
                   const std::vector<std::string>& choices) {
  auto value = fields.string(key).value_or(fallback);
  if (value.starts_with("torch.")) value.erase(0, 6);
  if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
    raise<ModelError>("{}: \"{}\" is \"{}\", but must be one of {}", fields.source(), key, value, join(choices, ", "));
  }
  return value;
}

void check_method(const JsonFields& fields) {
  const auto method = fields.string("quant_method");
  if (method.value_or("bitsandbytes") != "bitsandbytes") {
    raise<ModelError>(
        "{}: the weights are quantized by \"{}\"; Lorica reads 16-bit weights and bitsandbytes' 4-bit ones. Give the "
        "original model (it is quantized while loading).",
        fields.source(), *method);
  }
  if (fields.boolean("load_in_8bit").value_or(fields.boolean("_load_in_8bit").value_or(false))) {
    raise<ModelError>("{}: \"load_in_8bit\": 8-bit checkpoints are not built yet. Give the original 16-bit model.",
                      fields.source());
  }
  if (!fields.boolean("load_in_4bit").value_or(fields.boolean("_load_in_4bit").value_or(false))) {
    raise<ModelError>("{}: says neither \"load_in_4bit\" nor another method that Lorica knows", fields.source());
  }
}

}  // namespace

std::optional<BitsAndBytesConfig> read_quantization_config(const nlohmann::json& config, const std::string& source) {
  const auto* entry = JsonFields(config, source).object("quantization_config");
  if (!entry) return std::nullopt;
  const JsonFields fields(*entry, source + ": quantization_config");
  check_method(fields);
  BitsAndBytesConfig result;
  result.quant_type = choice(fields, "bnb_4bit_quant_type", result.quant_type, {"nf4", "fp4"});
  result.double_quantization = fields.boolean("bnb_4bit_use_double_quant").value_or(false);
  const std::vector<std::string> floats = {"float32", "bfloat16", "float16"};
  result.compute_dtype = choice(fields, "bnb_4bit_compute_dtype", result.compute_dtype, floats);
  result.storage_dtype = choice(fields, "bnb_4bit_quant_storage", result.storage_dtype,
                                {"uint8", "int8", "float16", "bfloat16", "float32"});
  result.skip_modules = fields.strings("llm_int8_skip_modules").value_or(std::vector<std::string>{});
  return result;
}

nlohmann::ordered_json to_json(const BitsAndBytesConfig& config) {
  nlohmann::ordered_json skip = nullptr;
  if (!config.skip_modules.empty()) skip = config.skip_modules;
  return {{"_load_in_4bit", true},
          {"_load_in_8bit", false},
          {"bnb_4bit_compute_dtype", config.compute_dtype},
          {"bnb_4bit_quant_storage", config.storage_dtype},
          {"bnb_4bit_quant_type", config.quant_type},
          {"bnb_4bit_use_double_quant", config.double_quantization},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", skip},
          {"llm_int8_threshold", 6.0},
          {"load_in_4bit", true},
          {"load_in_8bit", false},
          {"quant_method", "bitsandbytes"}};
}

}  // namespace lorica::io
