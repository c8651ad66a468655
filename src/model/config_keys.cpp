#include "model/config_keys.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace lorica::model {
namespace {

using nlohmann::json;

/// What transformers writes into every config.json or reads for other purposes than a causal language model's numbers;
/// what generates text; and settings that act only together with others.
const std::set<std::string>& inert_keys() {
  static const std::set<std::string> keys{
      // of every model
      "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "_name_or_path", "name_or_path",
      "_commit_hash", "use_cache", "return_dict", "output_hidden_states", "output_attentions", "torchscript",
      "use_bfloat16", "chunk_size_feed_forward", "is_decoder", "tokenizer_class", "prefix", "finetuning_task",
      "task_specific_params", "problem_type", "id2label", "label2id", "num_labels", "classifier_dropout",
      "tie_encoder_decoder", "pruned_heads", "initializer_range", "_attn_implementation", "attn_implementation",
      "_attn_implementation_autoset", "_flash_attn_2_enabled", "_experts_implementation", "model_name",
      "unsloth_version", "unsloth_fixed", "transformers.js_config", "max_sequence_length", "model_max_length",
      // token ids: the tokenizer's business, or of heads that aren't there
      "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "decoder_start_token_id",
      "forced_bos_token_id", "forced_eos_token_id", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens",
      // of generation; generation_config.json is read where text is generated
      "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
      "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
      "encoder_no_repeat_ngram_size", "num_return_sequences", "return_dict_in_generate", "output_scores",
      "remove_invalid_values", "exponential_decay_length_penalty",
      // products in slices: the same sums in another order
      "pretraining_tp",
      // act only where rope is scaled or windows are on, and are read there
      "original_max_position_embeddings", "max_window_layers", "rope_theta", "use_mrope",
      // read by io/model_config
      "quantization_config", "compression_config"};
  return keys;
}

/// Fields of rope settings that another rope type than the model's own has.
const std::set<std::string>& rope_keys() {
  static const std::set<std::string> keys{"type",
                                          "rope_type",
                                          "factor",
                                          "rope_theta",
                                          "original_max_position_embeddings",
                                          "attention_factor",
                                          "beta_fast",
                                          "beta_slow",
                                          "mscale",
                                          "mscale_all_dim",
                                          "truncate",
                                          "short_factor",
                                          "long_factor",
                                          "low_freq_factor",
                                          "high_freq_factor",
                                          "partial_rotary_factor",
                                          "mrope_section",
                                          "short_mscale",
                                          "long_mscale"};
  return keys;
}

/// Keys that decide numbers, each with what it is called in messages.
const std::map<std::string, std::string>& deciding_keys() {
  static const std::map<std::string, std::string> keys{
      {"attn_logit_softcapping", "a soft cap on attention scores"},
      {"final_logit_softcapping", "a soft cap on logits"},
      {"query_pre_attn_scalar", "a scale of queries of its own"},
      {"logits_scaling", "scaled logits"},
      {"logit_scale", "scaled logits"},
      {"dim_model_base", "scaled logits"},
      {"use_qk_norm", "norms of queries and keys"},
      {"qk_norm", "norms of queries and keys"},
      {"qk_layernorm", "norms of queries and keys"},
      {"use_qk_layernorm", "norms of queries and keys"},
      {"no_rope_layers", "layers without rotary embedding"},
      {"no_rope_layer_interval", "layers without rotary embedding"},
      {"rotary_pct", "rotary embedding of a part of each head"},
      {"rotary_dim", "rotary embedding of a part of each head"},
      {"rope_interleave", "interleaved rotary embedding"},
      {"rope_interleaved", "interleaved rotary embedding"},
      {"rope_local_base_freq", "a rotary base of its own in some layers"},
      {"alibi", "ALiBi"},
      {"sliding_window", "a sliding window"},
      {"sliding_window_pattern", "sliding windows in some layers"},
      {"layer_types", "layers of several kinds"},
      {"attention_chunk_size", "attention in chunks"},
      {"attn_temperature_tuning", "a temperature of attention by position"},
      {"attention_bias", "biases in attention"},
      {"qkv_bias", "biases in attention"},
      {"use_bias", "biases"},
      {"use_qkv_bias", "biases in attention"},
      {"mlp_bias", "biases in the MLP"},
      {"hidden_activation", "another activation"},
      {"activation_function", "another activation"},
      {"clip_qkv", "clipped queries, keys and values"},
      {"num_experts", "experts"},
      {"num_local_experts", "experts"},
      {"n_routed_experts", "experts"},
      {"kv_lora_rank", "compressed keys and values"},
      {"q_lora_rank", "compressed queries"},
      {"parallel_attn", "attention and MLP side by side"},
      {"use_parallel_residual", "attention and MLP side by side"},
      {"is_encoder_decoder", "an encoder"},
      {"add_cross_attention", "cross attention"},
  };
  return keys;
}

bool is_number(const json& value, double wanted) {
  return value.is_number() && std::abs(value.get<double>() - wanted) <= 1e-6 * std::abs(wanted);
}

/// null, false, and what is empty switch things off.
bool is_off(const json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) || (value.is_structured() && value.empty()) ||
         (value.is_string() && value.get<std::string>().empty());
}

/// Whether a key that decides numbers is set to what changes nothing in `a`.
bool is_neutral(const std::string& key, const json& value, const ConfigReader& config, const Architecture& a) {
  if (is_off(value)) return true;
  if (key == "sliding_window") {
    // Families that read the switch take it as off where it is absent.
    const bool switched = config.was_asked("use_sliding_window") || config.has("use_sliding_window");
    if (switched && !config.flag("use_sliding_window", false)) return true;
    return value.is_number() && (value.get<double>() <= 0 || value.get<double>() >= double(a.max_positions));
  }
  if (key == "layer_types" && value.is_array()) {
    return std::all_of(value.begin(), value.end(),
                       [](const json& type) { return type == "full_attention" || type == "attention"; });
  }
  if (key == "hidden_activation" || key == "activation_function") return value == "silu" || value == "swish";
  if (key == "query_pre_attn_scalar" || key == "rotary_dim") return is_number(value, double(a.head_dim));
  if (key == "attention_multiplier") return is_number(value, 1.0 / std::sqrt(double(a.head_dim)));
  if (key.find("experts") != std::string::npos) return is_number(value, 1) || is_number(value, 0);
  if (key == "attention_bias" || key == "qkv_bias" || key == "use_qkv_bias") return a.qkv_bias;
  if (key == "no_rope_layers" && value.is_array()) {  // 1: the layer has rotary embedding
    return std::all_of(value.begin(), value.end(), [](const json& layer) { return is_number(layer, 1); });
  }
  return is_number(value, 1);
}

/// What a key decides, "" if it isn't known to decide anything.
std::string what_it_decides(const std::string& key, const json& value) {
  const auto found = deciding_keys().find(key);
  if (found != deciding_keys().end()) return found->second;
  const bool scale = key.ends_with("_multiplier") || key.ends_with("_multipliers") || key.starts_with("scale_");
  return scale && (value.is_number() || value.is_boolean() || value.is_array()) ? "scaled values" : "";
}

std::string why_aside(const std::string& key, const json& value) {
  if (key == "auto_map") return "code from a model repository is never run; the built-in model type is used";
  if (key.find("dropout") != std::string::npos || key.ends_with("_pdrop")) {
    return is_number(value, 0) ? "" : "no dropout is applied inside the layers";
  }
  if (key == "num_nextn_predict_layers" || key == "mtp_num_hidden_layers") {
    return is_number(value, 0) ? "" : "layers that predict several tokens are not used";
  }
  for (const char* part : {"vision_config", "audio_config", "vision_tower", "mm_projector"}) {
    if (key.starts_with(part)) return "only the language model is used";
  }
  return "Lorica doesn't know it for this model type";
}

/// Settings of rope, in which one level of keys is known.
void account_for_rope(const ConfigReader& config, const std::string& key, Architecture& architecture) {
  const auto& settings = config.object().at(key);
  if (!settings.is_object()) return;
  for (const auto& [name, value] : settings.items()) {
    const auto path = key + "." + name;
    if (config.was_asked(path) || rope_keys().contains(name) || is_off(value)) continue;
    architecture.account.leave_aside(Account::Kind::metadata, config.origin(), path,
                                     "Lorica doesn't know it as a setting of rotary embedding");
  }
}

}  // namespace

void account_for_keys(const ConfigReader& config, Architecture& architecture) {
  for (const auto& [key, value] : config.object().items()) {
    if (key == "rope_scaling" || key == "rope_parameters") account_for_rope(config, key, architecture);
    if (key != "auto_map" && config.was_asked(key)) continue;
    if (inert_keys().contains(key) || is_off(value)) continue;
    const auto decides = what_it_decides(key, value);
    if (!decides.empty()) {
      if (is_neutral(key, value, config, architecture)) continue;
      config.fail(key,
                  fmt::format("is {}: {}, which model type '{}' does not have here, so that the model's numbers would "
                              "be others than meant. Give the model with the model_type that uses it, or remove the "
                              "key if it is a leftover that its makers' program ignores.",
                              value.dump().substr(0, 60), decides, architecture.family));
    }
    const auto reason = why_aside(key, value);
    if (!reason.empty()) architecture.account.leave_aside(Account::Kind::metadata, config.origin(), key, reason);
  }
}

}  // namespace lorica::model
