// adapter_config.json: reading with every check by name, and writing all the fields that PEFT writes.
#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "io/json.hpp"
#include "io/peft_adapter.hpp"

namespace lorica::io {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

/// PEFT 0.21's LoraConfig fields that AdapterConfig has no member for, with their default values.
const ordered_json& defaults_of_other_fields() {
  static const ordered_json defaults = {
      {"alora_invocation_tokens", nullptr},
      {"arrow_config", nullptr},
      {"auto_mapping", nullptr},
      {"bias", "none"},
      {"corda_config", nullptr},
      {"ensure_weight_tying", false},
      {"eva_config", nullptr},
      {"fan_in_fan_out", false},
      {"kasa_config", nullptr},
      {"layer_replication", nullptr},
      {"loftq_config", ordered_json::object()},
      {"lora_bias", false},
      {"lora_ga_config", nullptr},
      {"megatron_config", nullptr},
      {"megatron_core", "megatron.core"},
      {"monteclora_config", nullptr},
      {"peft_version", "0.21.2"},
      {"qalora_group_size", 16},
      {"target_parameters", nullptr},
      {"trainable_token_indices", nullptr},
      {"use_bdlora", nullptr},
      {"use_qalora", false},
      {"velora_config", nullptr},
  };
  return defaults;
}

/// Absent, null, false, empty list or empty object: the feature is off.
bool is_off(const json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) || (value.is_structured() && value.empty());
}

/// Refuses, by name, what changes the numbers and is not supported.
void refuse_unsupported(const json& object, const JsonFields& fields, bool allow_dora) {
  const auto& source = fields.source();
  if (const auto type = fields.string("peft_type"); type != "LORA") {
    raise<ModelError>("{}: \"peft_type\" is \"{}\"; only LORA adapters are supported", source, type.value_or("absent"));
  }
  if (const auto bias = fields.string("bias").value_or("none"); bias != "none") {
    raise<ModelError>("{}: \"bias\" is \"{}\": adapters that also train biases are not supported (only \"none\")",
                      source, bias);
  }
  for (const char* key : {"fan_in_fan_out", "lora_bias", "use_qalora", "alora_invocation_tokens",
                          "trainable_token_indices", "layer_replication", "target_parameters", "use_bdlora",
                          "arrow_config", "kasa_config", "monteclora_config", "megatron_config"}) {
    if (object.contains(key) && !is_off(object[key])) {
      raise<ModelError>("{}: \"{}\" is set: it changes what the adapter computes, and Lorica doesn't support it",
                        source, key);
    }
  }
  if (!allow_dora && fields.boolean("use_dora").value_or(false)) {
    raise<ModelError>("{}: \"use_dora\" is true: DoRA adapters are not supported here", source);
  }
}

/// Initialisations that subtract from the base weights make an adapter that is wrong on the original base.
void check_initialisation(const ordered_json& value, const std::string& source) {
  if (value.is_boolean()) return;
  if (!value.is_string()) raise<ModelError>("{}: \"init_lora_weights\" must be true, false or a name", source);
  const auto name = to_lower(value.get<std::string>());
  for (const char* kind : {"true", "false", "gaussian", "eva", "orthogonal", "mica"}) {
    if (name == kind) return;
  }
  for (const char* kind : {"pissa", "olora", "corda", "loftq", "lora_ga"}) {
    if (name.starts_with(kind)) {
      raise<ModelError>(
          "{}: \"init_lora_weights\" is \"{}\", which altered the base weights that this adapter was trained on; on "
          "the "
          "original base its answers would be wrong. Convert it first (PEFT: save_pretrained with "
          "path_initial_model_for_weight_conversion), or set the field to true if the base is already the altered one.",
          source, value.get<std::string>());
    }
  }
  raise<ModelError>(
      "{}: \"init_lora_weights\" is \"{}\", which Lorica doesn't know: it may have altered the base weights that this "
      "adapter was trained on. Set the field to true if it didn't.",
      source, value.get<std::string>());
}

/// A list of strings, or one string.
void read_names(const JsonFields& fields, const json& object, const std::string& key, std::vector<std::string>& list,
                std::optional<std::string>& regex) {
  if (!fields.has(key)) return;
  if (object[key].is_string()) {
    regex = object[key].get<std::string>();
  } else {
    list = *fields.strings(key);
  }
}

void read_layers(const JsonFields& fields, const json& object, AdapterConfig& config) {
  if (fields.has("layers_to_transform")) {
    config.layers_to_transform = object["layers_to_transform"].is_number()
                                     ? std::vector<std::int64_t>{*fields.integer("layers_to_transform")}
                                     : *fields.integers("layers_to_transform");
  }
  // An empty list means no restriction, as in PEFT.
  if (config.layers_to_transform && config.layers_to_transform->empty()) config.layers_to_transform.reset();
  std::optional<std::string> one;
  read_names(fields, object, "layers_pattern", config.layers_pattern, one);
  if (one && !one->empty()) config.layers_pattern = {*one};
}

void read_patterns(const JsonFields& fields, AdapterConfig& config) {
  if (const auto* patterns = fields.object("rank_pattern")) {
    const JsonFields entries(*patterns, fields.source() + ": rank_pattern");
    for (const auto& [key, value] : patterns->items()) {
      const auto rank = entries.integer(key).value_or(0);
      if (rank < 1) raise<ModelError>("{}: \"{}\": a rank must be at least 1", entries.source(), key);
      config.rank_pattern[key] = rank;
    }
  }
  if (const auto* patterns = fields.object("alpha_pattern")) {
    const JsonFields entries(*patterns, fields.source() + ": alpha_pattern");
    for (const auto& [key, value] : patterns->items()) {
      if (!entries.has(key)) entries.reject(key, "a number");
      config.alpha_pattern[key] = *entries.number(key);
    }
  }
}

const std::set<std::string>& fields_with_members() {
  static const std::set<std::string> names = {"base_model_name_or_path",
                                              "revision",
                                              "task_type",
                                              "peft_type",
                                              "inference_mode",
                                              "r",
                                              "lora_alpha",
                                              "lora_dropout",
                                              "use_rslora",
                                              "use_dora",
                                              "target_modules",
                                              "exclude_modules",
                                              "modules_to_save",
                                              "layers_to_transform",
                                              "layers_pattern",
                                              "rank_pattern",
                                              "alpha_pattern",
                                              "init_lora_weights"};
  return names;
}

/// Fields that say how PEFT began or trained, and nothing of what the adapter computes.
std::string_view why_without_effect(const std::string& key) {
  if (key == "velora_config") return "it is a way of training that Lorica doesn't have";
  if (!defaults_of_other_fields().contains(key)) return "Lorica doesn't know it";
  return "";
}

/// Keeps the fields without a member, and accounts for those that are set and do nothing here.
void keep_others(const json& object, const std::string& source, AdapterConfig& config) {
  for (const auto& [key, value] : object.items()) {
    if (fields_with_members().contains(key)) continue;
    config.other[key] = ordered_json::parse(value.dump());
    const auto reason = why_without_effect(key);
    if (!reason.empty() && !is_off(value)) {
      config.account.leave_aside(Account::Kind::metadata, source, key, reason);
    }
  }
}

/// 16, not 16.0: PEFT's lora_alpha is an integer, and other readers insist on it.
ordered_json number_json(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return static_cast<std::int64_t>(value);
  return value;
}

ordered_json names_json(const std::vector<std::string>& names, const std::optional<std::string>& regex = {}) {
  if (regex) return *regex;
  if (names.empty()) return nullptr;
  return names;
}

}  // namespace

AdapterConfig parse_adapter_config(const json& object, const std::string& source, bool allow_dora) {
  const JsonFields fields(object, source);
  refuse_unsupported(object, fields, allow_dora);
  AdapterConfig config;
  config.base_model_name_or_path = fields.string("base_model_name_or_path").value_or("");
  config.revision = fields.string("revision");
  config.task_type = fields.string("task_type");
  config.inference_mode = fields.boolean("inference_mode").value_or(false);
  config.rank = fields.integer("r").value_or(8);
  config.alpha = fields.number("lora_alpha").value_or(8);
  config.dropout = fields.number("lora_dropout").value_or(0);
  config.use_rslora = fields.boolean("use_rslora").value_or(false);
  config.use_dora = fields.boolean("use_dora").value_or(false);
  read_names(fields, object, "target_modules", config.target_modules, config.target_regex);
  read_names(fields, object, "exclude_modules", config.exclude_modules, config.exclude_regex);
  config.modules_to_save = fields.strings("modules_to_save").value_or(std::vector<std::string>{});
  read_layers(fields, object, config);
  read_patterns(fields, config);
  if (fields.has("init_lora_weights"))
    config.init_lora_weights = ordered_json::parse(object["init_lora_weights"].dump());
  check_initialisation(config.init_lora_weights, source);
  if (config.rank < 1 || config.rank > 1 << 20)
    raise<ModelError>("{}: \"r\" is {}, but must be 1 or more", source, config.rank);
  if (!(config.dropout >= 0 && config.dropout < 1)) {
    raise<ModelError>("{}: \"lora_dropout\" is {}, but must be at least 0 and less than 1", source, config.dropout);
  }
  if (config.target_modules.empty() && !config.target_regex && config.modules_to_save.empty()) {
    raise<ModelError>("{}: neither \"target_modules\" nor \"modules_to_save\" names a module", source);
  }
  keep_others(object, source, config);
  return config;
}

AdapterConfig read_adapter_config(const std::filesystem::path& file, bool allow_dora) {
  return parse_adapter_config(read_json(file), file.string(), allow_dora);
}

ordered_json to_json(const AdapterConfig& config) {
  json all = json::parse(defaults_of_other_fields().dump());
  for (const auto& [key, value] : config.other.items()) all[key] = json::parse(value.dump());
  const auto set = [&](const char* key, const ordered_json& value) { all[key] = json::parse(value.dump()); };
  set("peft_type", "LORA");
  set("base_model_name_or_path", nullptr);
  if (!config.base_model_name_or_path.empty()) set("base_model_name_or_path", config.base_model_name_or_path);
  set("revision", config.revision ? ordered_json(*config.revision) : ordered_json());
  set("task_type", config.task_type ? ordered_json(*config.task_type) : ordered_json());
  set("inference_mode", config.inference_mode);
  set("r", config.rank);
  set("lora_alpha", number_json(config.alpha));
  set("lora_dropout", config.dropout);
  set("use_rslora", config.use_rslora);
  set("use_dora", config.use_dora);
  set("target_modules", names_json(config.target_modules, config.target_regex));
  set("exclude_modules", names_json(config.exclude_modules, config.exclude_regex));
  set("modules_to_save", names_json(config.modules_to_save));
  set("layers_to_transform", config.layers_to_transform ? ordered_json(*config.layers_to_transform) : ordered_json());
  set("layers_pattern", names_json(config.layers_pattern));
  set("rank_pattern", ordered_json(config.rank_pattern));
  ordered_json alphas = ordered_json::object();
  for (const auto& [pattern, alpha] : config.alpha_pattern) alphas[pattern] = number_json(alpha);
  set("alpha_pattern", alphas);
  set("init_lora_weights", config.init_lora_weights);
  // json keeps keys sorted, as PEFT's files are.
  return ordered_json::parse(all.dump());
}

void write_adapter_config(const std::filesystem::path& file, const AdapterConfig& config) {
  write_json(file, to_json(config));
}

}  // namespace lorica::io
