#include "io/model_config.hpp"

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "io/json.hpp"
#include "io/plain_name.hpp"
#include "io/regex.hpp"
#include "io/safetensors.hpp"

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

/// A way of storing weights that Lorica doesn't read.
struct Method {
  std::string name;                 ///< quant_method
  std::string title;                ///< for people
  std::vector<std::string> beside;  ///< what is appended to a module's path for the tensors that it leaves there
  std::string dequantize;           ///< the argument that makes transformers load the weights in 16 bits; "": none
};

const std::vector<Method>& methods() {
  static const std::vector<Method> table{
      {"gptq", "GPTQ", {".g_idx"}, ""},
      {"awq", "AWQ", {}, ""},
      {"gptq or awq", "GPTQ or AWQ", {".qweight"}, ""},  // no quant_method: tensors that both leave
      {"fp8", "FP8 (blocks with scales)", {".weight_scale_inv"}, "FineGrainedFP8Config(dequantize=True)"},
      {"fbgemm_fp8", "FP8 (FBGEMM)", {}, ""},
      {"mxfp8", "MXFP8", {}, "FineGrainedFP8Config(dequantize=True)"},
      {"mxfp4", "MXFP4", {"_blocks", ".weight_blocks"}, "Mxfp4Config(dequantize=True)"},
      {"nvfp4", "NVFP4", {".weight_scale_2"}, ""},
      {"modelopt", "NVIDIA ModelOpt", {}, ""},
      {"compressed-tensors", "compressed-tensors (llm-compressor)", {".weight_packed", ".weight_scale"}, ""},
      {"hqq", "HQQ", {".W_q"}, ""},
      {"quanto", "quanto", {".weight._data", ".weight._scale"}, ""},
      {"torchao", "torchao", {}, ""},
      {"eetq", "EETQ", {".weight_scales"}, ""},
      {"aqlm", "AQLM", {".codebooks"}, ""},
      {"vptq", "VPTQ", {".centroids.weight"}, ""},
      {"spqr", "SpQR", {".dense_weights"}, ""},
      {"higgs", "HIGGS", {}, ""},
      {"fp_quant", "FP-Quant", {}, ""},
      {"quark", "AMD Quark", {}, ""},
      {"bitnet", "BitNet", {}, ""},
      {"auto-round", "AutoRound", {}, ""},
      {"gguf", "GGUF", {}, ""},
      {"exl2", "ExLlamaV2", {".q_weight"}, ""},
      {"exl3", "ExLlamaV3", {".trellis"}, ""},
  };
  return table;
}

const Method* find_method(const std::string& name) {
  const auto found =
      std::find_if(methods().begin(), methods().end(), [&](const auto& row) { return row.name == name; });
  return found == methods().end() ? nullptr : &*found;
}

/// What can be done about weights that `method` (null: one that the table doesn't know) stored.
std::string way_out(const Method* method) {
  std::string text = "Give the original 16-bit model: --train_type qlora quantizes it while loading.";
  if (method && !method->dequantize.empty()) {
    text += fmt::format(
        " Or write it in 16 bits with transformers: AutoModelForCausalLM.from_pretrained(folder, "
        "quantization_config={}, dtype=\"bfloat16\").save_pretrained(new_folder).",
        method->dequantize);
  }
  return text;
}

constexpr const char* kReadable = "Lorica reads 16-bit weights and bitsandbytes' 4-bit and 8-bit ones";

/// Whether the weights are in 8 bits; else they are in 4.
bool check_method(const JsonFields& fields) {
  const auto name = fields.string("quant_method").value_or("bitsandbytes");
  const bool in_4_bits = fields.boolean("load_in_4bit").value_or(fields.boolean("_load_in_4bit").value_or(false));
  const bool in_8_bits = fields.boolean("load_in_8bit").value_or(fields.boolean("_load_in_8bit").value_or(false));
  if (name == "bitsandbytes_8bit" || (name == "bitsandbytes" && in_8_bits)) return true;
  if (name == "bitsandbytes_4bit" || (name == "bitsandbytes" && in_4_bits)) return false;
  if (name == "bitsandbytes") {
    raise<ModelError>("{}: says neither \"load_in_4bit\" nor \"load_in_8bit\" nor another method that Lorica knows",
                      fields.source());
  }
  const auto* method = find_method(name);
  raise<ModelError>("{}: the weights are quantized by {} (\"{}\"); {}. {}", fields.source(),
                    method ? method->title : "a method that Lorica doesn't know", name, kReadable, way_out(method));
}

/// Keys of bitsandbytes that say how transformers runs such a model, not what its weights are.
bool is_inert(const std::string& key) {
  static const std::set<std::string> keys{"llm_int8_threshold", "llm_int8_enable_fp32_cpu_offload",
                                          "llm_int8_has_fp16_weight"};
  return keys.contains(key);
}

}  // namespace

std::optional<BitsAndBytesConfig> read_quantization_config(const nlohmann::json& config, const std::string& source,
                                                           Account* account) {
  const JsonFields all(config, source);
  const std::string key = all.has("quantization_config") ? "quantization_config" : "compression_config";
  const auto* entry = all.object(key);
  if (!entry) return std::nullopt;
  const JsonFields fields(*entry, source + ": " + key);
  if (key == "compression_config") {
    const auto* method = find_method("compressed-tensors");
    raise<ModelError>("{}: the weights are quantized by {}; {}. {}", fields.source(), method->title, kReadable,
                      way_out(method));
  }
  BitsAndBytesConfig result;
  result.eight_bits = check_method(fields);
  result.quant_type = choice(fields, "bnb_4bit_quant_type", result.quant_type, {"nf4", "fp4"});
  result.double_quantization = fields.boolean("bnb_4bit_use_double_quant").value_or(false);
  const std::vector<std::string> floats = {"float32", "bfloat16", "float16"};
  result.compute_dtype = choice(fields, "bnb_4bit_compute_dtype", result.compute_dtype, floats);
  result.storage_dtype = choice(fields, "bnb_4bit_quant_storage", result.storage_dtype,
                                {"uint8", "int8", "float16", "bfloat16", "float32"});
  // The second is what other methods call it.
  for (const char* list : {"llm_int8_skip_modules", "modules_to_not_convert"}) {
    for (auto& module : fields.strings(list).value_or(std::vector<std::string>{})) {
      result.skip_modules.push_back(std::move(module));
    }
  }
  const auto written = to_json(result);
  for (const auto& [name, value] : entry->items()) {
    if (account && !written.contains(name) && name != "modules_to_not_convert" && !is_inert(name) && !value.is_null()) {
      account->leave_aside(Account::Kind::metadata, source, key + "." + name, "Lorica doesn't know it");
    }
  }
  return result;
}

bool skips_module(const BitsAndBytesConfig& config, const std::string& module) {
  // Without a list transformers keeps the output head.
  if (config.skip_modules.empty()) return module == "lm_head";
  return std::any_of(config.skip_modules.begin(), config.skip_modules.end(), [&](const std::string& entry) {
    if (module.ends_with(entry)) return true;
    const Regex pattern("(?:" + entry + ")(?:(?<=\\.)|(?=\\.|$))", "quantization_config: llm_int8_skip_modules");
    return pattern.match(module);
  });
}

std::string quantization_of(const WeightFiles& files, const std::string& module) {
  const auto found = [&](const Method& method) {
    return std::any_of(method.beside.begin(), method.beside.end(),
                       [&](const auto& part) { return files.find(module + part) != nullptr; });
  };
  const auto method = std::find_if(methods().begin(), methods().end(), found);
  if (method != methods().end()) {
    return fmt::format("the weights are quantized by {}, though config.json doesn't say so. {}", method->title,
                       way_out(&*method));
  }
  const auto* weight = files.find(module + ".weight");
  if (weight && (weight->dtype == Dtype::f8_e4m3 || weight->dtype == Dtype::f8_e5m2)) {
    return fmt::format("the weights are stored in 8-bit floats ({}). {}", plain_name(weight->dtype), way_out(nullptr));
  }
  if (weight && dtype_size(weight->dtype) == 1 && weight->dtype != Dtype::boolean) {
    return fmt::format(
        "the weights are stored as 8-bit integers ({}): quantized, but not in a way that Lorica knows. {}",
        plain_name(weight->dtype), way_out(nullptr));
  }
  return "";
}

nlohmann::ordered_json to_json(const BitsAndBytesConfig& config) {
  nlohmann::ordered_json skip = nullptr;
  if (!config.skip_modules.empty()) skip = config.skip_modules;
  return {{"_load_in_4bit", !config.eight_bits},
          {"_load_in_8bit", config.eight_bits},
          {"bnb_4bit_compute_dtype", config.compute_dtype},
          {"bnb_4bit_quant_storage", config.storage_dtype},
          {"bnb_4bit_quant_type", config.quant_type},
          {"bnb_4bit_use_double_quant", config.double_quantization},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", skip},
          {"llm_int8_threshold", 6.0},
          {"load_in_4bit", !config.eight_bits},
          {"load_in_8bit", config.eight_bits},
          {"quant_method", "bitsandbytes"}};
}

}  // namespace lorica::io
