// Reads a config's rope settings: see rope_config.hpp.
#include "model/rope_config.hpp"

#include "base/strings.hpp"

namespace lorica::model {
namespace {

constexpr int64_t kMostPositions = int64_t{1} << 40;

/// The object that holds the settings, or null when the config has none (plain rope).
const char* settings_key(const ConfigReader& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (config.has(key) && !(config.at(key).is_object() && config.at(key).empty())) return key;
  }
  return nullptr;
}

RopeType read_type(const ConfigReader& settings, const FamilyDefaults& defaults) {
  const char* key = settings.has("rope_type") ? "rope_type" : "type";
  auto name = settings.text(key, "default");
  if (const auto alias = defaults.rope_type_aliases.find(name); alias != defaults.rope_type_aliases.end()) {
    name = alias->second;
  }
  const auto type = parse_rope_type(name);
  if (type) return *type;
  const auto near = nearest_name(name, rope_type_names());
  settings.fail(
      key, fmt::format("is '{}', which is not known{}. Known rope types: {}", name,
                       near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near), join(rope_type_names(), ", ")));
}

void need(const ConfigReader& settings, const char* key, RopeType type) {
  if (!settings.has(key)) settings.fail(key, fmt::format("is missing: rope type '{}' needs it", rope_type_name(type)));
}

void read_factor(const ConfigReader& settings, RopeConfig& rope) {
  const bool derivable = rope.type == RopeType::yarn || rope.type == RopeType::longrope;
  if (rope.type == RopeType::normal) return;
  if (!derivable) need(settings, "factor", rope.type);
  if (settings.has("factor")) rope.factor = settings.positive_number("factor", 1.0);
}

void read_factor_list(const ConfigReader& settings, const char* key, int64_t expected, std::vector<double>& list) {
  need(settings, key, RopeType::longrope);
  list = settings.numbers(key);
  if (static_cast<int64_t>(list.size()) != expected) {
    settings.fail(key,
                  fmt::format("holds {} numbers, but half of the rotated dimensions is {}", list.size(), expected));
  }
  for (const double value : list) {
    if (!(value > 0.0)) settings.fail(key, fmt::format("holds {}: every factor must be greater than 0", value));
  }
}

void read_yarn(const ConfigReader& settings, RopeConfig& rope) {
  // 0 counts as not given, as in the reference implementation.
  if (settings.number("beta_fast", 0.0) != 0.0) rope.beta_fast = settings.positive_number("beta_fast", rope.beta_fast);
  if (settings.number("beta_slow", 0.0) != 0.0) rope.beta_slow = settings.positive_number("beta_slow", rope.beta_slow);
  rope.mscale = settings.optional_number("mscale");
  rope.mscale_all_dim = settings.optional_number("mscale_all_dim");
  rope.truncate = settings.flag("truncate", true);
  if (!(rope.theta > 1.0)) settings.fail("rope_theta", fmt::format("is {}: yarn needs more than 1", rope.theta));
}

void read_llama3(const ConfigReader& settings, RopeConfig& rope) {
  need(settings, "low_freq_factor", rope.type);
  need(settings, "high_freq_factor", rope.type);
  rope.low_frequency_factor = settings.positive_number("low_freq_factor", 1.0);
  rope.high_frequency_factor = settings.positive_number("high_freq_factor", 4.0);
  if (rope.high_frequency_factor <= rope.low_frequency_factor) {
    settings.fail("high_freq_factor", fmt::format("is {}, but must be greater than low_freq_factor ({})",
                                                  rope.high_frequency_factor, rope.low_frequency_factor));
  }
}

void refuse_nested(const ConfigReader& settings) {
  for (const char* key : {"full_attention", "sliding_attention"}) {
    if (settings.has(key)) settings.fail(key, "sets its own rope per kind of layer, which this model family has not");
  }
}

/// The rotated share of a head, which `fallback` is if the key is absent.
double read_partial(const ConfigReader& reader, const FamilyDefaults& defaults, int64_t head_dim, double fallback) {
  const char* key = "partial_rotary_factor";
  const double share = reader.number(key, fallback);
  if (!defaults.partial_rotary_factor) {
    if (share != 1.0) reader.fail(key, fmt::format("is {}: this model family rotates whole heads (1.0)", share));
    return share;
  }
  const auto rotated = static_cast<int64_t>(static_cast<double>(head_dim) * share);
  if (!(share > 0.0 && share <= 1.0) || rotated < 2 || rotated % 2 != 0) {
    reader.fail(key, fmt::format("is {}: of {} dimensions of a head an even number must be rotated", share, head_dim));
  }
  return share;
}

}  // namespace

RopeConfig read_rope_config(const ConfigReader& config, const FamilyDefaults& defaults, int64_t head_dim,
                            int64_t max_positions) {
  RopeConfig rope;
  rope.theta = config.positive_number("rope_theta", defaults.rope_theta);
  rope.partial_rotary_factor = read_partial(config, defaults, head_dim, defaults.partial_rotary_factor.value_or(1.0));
  const char* key = settings_key(config);
  if (key == nullptr) return rope;

  const auto settings = config.child(key);
  refuse_nested(settings);
  rope.partial_rotary_factor = read_partial(settings, defaults, head_dim, rope.partial_rotary_factor);
  rope.type = read_type(settings, defaults);
  rope.theta = settings.positive_number("rope_theta", rope.theta);
  read_factor(settings, rope);

  const bool scaled = rope.type == RopeType::yarn || rope.type == RopeType::longrope || rope.type == RopeType::llama3;
  if (!scaled) return rope;
  const char* original = "original_max_position_embeddings";
  const auto fallback = defaults.original_max_positions > 0 ? defaults.original_max_positions : max_positions;
  rope.original_max_positions =
      config.size(original, settings.size(original, fallback, kMostPositions), kMostPositions);
  if (rope.type != RopeType::llama3 && settings.has("attention_factor")) {
    rope.attention_factor = settings.positive_number("attention_factor", 1.0);
  }
  if (rope.type == RopeType::yarn) read_yarn(settings, rope);
  if (rope.type == RopeType::llama3) read_llama3(settings, rope);
  if (rope.type == RopeType::longrope) {
    if (rope.original_max_positions < 2) config.fail(original, "must be at least 2 for rope type 'longrope'");
    const auto half = static_cast<int64_t>(static_cast<double>(head_dim) * rope.partial_rotary_factor) / 2;
    read_factor_list(settings, "short_factor", half, rope.short_factor);
    read_factor_list(settings, "long_factor", half, rope.long_factor);
  }
  return rope;
}

}  // namespace lorica::model
