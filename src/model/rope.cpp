// The inverse frequencies of each rope type. Float32 throughout, as in transformers: see rope.hpp.
#include "model/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.hpp"

namespace lorica::model {
namespace {

/// base^exponent rounded once to float32 (torch's own is within one unit of it).
float power(float base, float exponent) {
  return static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
}

/// theta^(2i / dim) for i = 0 … ceil(dim / 2) − 1: the wavelengths over 2π, [ceil(dim / 2)].
std::vector<float> theta_powers(float theta, int64_t dim) {
  std::vector<float> powers;
  for (int64_t i = 0; i < dim; i += 2) powers.push_back(power(theta, static_cast<float>(i) / static_cast<float>(dim)));
  return powers;
}

std::vector<float> plain_frequencies(float theta, int64_t dim) {
  auto result = theta_powers(theta, dim);
  for (auto& value : result) value = 1.0F / value;
  return result;
}

double required_factor(const RopeConfig& config) {
  if (!config.factor) {
    raise<ModelError>("rope type '{}' needs a factor: add it to rope_parameters in config.json",
                      rope_type_name(config.type));
  }
  return *config.factor;
}

RopeFrequencies linear_frequencies(const RopeConfig& config, int64_t dim) {
  const auto factor = static_cast<float>(required_factor(config));
  RopeFrequencies result{plain_frequencies(static_cast<float>(config.theta), dim), 1.0};
  for (auto& value : result.inverse_frequencies) value /= factor;
  return result;
}

/// Theta grows with the sequence once that is longer than the model was made for ("NTK-aware" scaling).
RopeFrequencies dynamic_frequencies(const RopeConfig& config, int64_t dim, int64_t max_positions, int64_t length) {
  if (dim <= 2) raise<ModelError>("rope type 'dynamic' needs more than 2 rotated dimensions per head, not {}", dim);
  const double factor = required_factor(config);
  auto theta = static_cast<float>(config.theta);
  if (length > max_positions) {
    // At run time transformers holds the length in a tensor, which makes this float32 arithmetic.
    const float stretched = static_cast<float>(factor) * static_cast<float>(length) / static_cast<float>(max_positions);
    const auto exponent = static_cast<float>(static_cast<double>(dim) / static_cast<double>(dim - 2));
    theta *= power(stretched - static_cast<float>(factor - 1.0), exponent);
  }
  return {plain_frequencies(theta, dim), 1.0};
}

double yarn_scale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double yarn_attention_scaling(const RopeConfig& config, double factor) {
  if (config.attention_factor) return *config.attention_factor;
  if (config.mscale.value_or(0.0) != 0.0 && config.mscale_all_dim.value_or(0.0) != 0.0) {
    return yarn_scale(factor, *config.mscale) / yarn_scale(factor, *config.mscale_all_dim);
  }
  return yarn_scale(factor, 1.0);
}

/// The dimension that makes `rotations` full turns over the pretraining context.
double yarn_dimension(double rotations, int64_t dim, double theta, int64_t positions) {
  return static_cast<double>(dim) * std::log(static_cast<double>(positions) / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(theta));
}

RopeFrequencies yarn_frequencies(const RopeConfig& config, int64_t dim, int64_t max_positions, int64_t original) {
  const double factor = config.factor.value_or(static_cast<double>(max_positions) / static_cast<double>(original));
  double low = yarn_dimension(config.beta_fast, dim, config.theta, original);
  double high = yarn_dimension(config.beta_slow, dim, config.theta, original);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // no division by zero below

  RopeFrequencies result{theta_powers(static_cast<float>(config.theta), dim), yarn_attention_scaling(config, factor)};
  auto& values = result.inverse_frequencies;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float position = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.0F - std::clamp(position, 0.0F, 1.0F);
    const float extrapolated = 1.0F / values[i];
    const float interpolated = 1.0F / (static_cast<float>(factor) * values[i]);
    values[i] = interpolated * (1.0F - kept) + extrapolated * kept;
  }
  return result;
}

RopeFrequencies longrope_frequencies(const RopeConfig& config, int64_t dim, int64_t max_positions, int64_t original,
                                     int64_t length) {
  const bool is_long = length > original;
  const auto& factors = is_long ? config.long_factor : config.short_factor;
  RopeFrequencies result{theta_powers(static_cast<float>(config.theta), dim), 1.0};
  auto& values = result.inverse_frequencies;
  if (factors.size() != values.size()) {
    raise<ModelError>("rope type 'longrope' needs {} numbers in {} (half of the rotated dimensions), not {}",
                      values.size(), is_long ? "long_factor" : "short_factor", factors.size());
  }
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1.0F / (static_cast<float>(factors[i]) * values[i]);

  const double factor = config.factor.value_or(static_cast<double>(max_positions) / static_cast<double>(original));
  if (config.attention_factor) {
    result.attention_scaling = *config.attention_factor;
  } else if (factor > 1.0) {
    result.attention_scaling = std::sqrt(1.0 + std::log(factor) / std::log(static_cast<double>(original)));
  }
  return result;
}

/// Long wavelengths are slowed by the factor, short ones left alone, those between blended.
RopeFrequencies llama3_frequencies(const RopeConfig& config, int64_t dim, int64_t original) {
  const auto factor = static_cast<float>(required_factor(config));
  const auto context = static_cast<double>(original);
  const auto longest = static_cast<float>(context / config.low_frequency_factor);
  const auto shortest = static_cast<float>(context / config.high_frequency_factor);
  const auto low = static_cast<float>(config.low_frequency_factor);
  const auto band = static_cast<float>(config.high_frequency_factor - config.low_frequency_factor);

  RopeFrequencies result{plain_frequencies(static_cast<float>(config.theta), dim), 1.0};
  for (auto& value : result.inverse_frequencies) {
    const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / value;
    if (wavelength > longest) {
      value /= factor;
    } else if (wavelength >= shortest) {
      const float smooth = (static_cast<float>(context) / wavelength - low) / band;
      value = (1.0F - smooth) * value / factor + smooth * value;
    }
  }
  return result;
}

}  // namespace

const std::vector<std::string>& rope_type_names() {
  static const std::vector<std::string> names{"default", "linear", "dynamic", "yarn", "longrope", "llama3"};
  return names;
}

std::string_view rope_type_name(RopeType type) {
  return rope_type_names()[static_cast<std::size_t>(type)];
}

std::optional<RopeType> parse_rope_type(std::string_view name) {
  const auto& names = rope_type_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<RopeType>(found - names.begin());
}

bool rope_depends_on_length(const RopeConfig& config) {
  return config.type == RopeType::dynamic || config.type == RopeType::longrope;
}

RopeFrequencies rope_frequencies(const RopeConfig& config, int64_t head_dim, int64_t max_positions,
                                 int64_t sequence_length) {
  const auto dim = static_cast<int64_t>(static_cast<double>(head_dim) * config.partial_rotary_factor);
  if (head_dim <= 0 || dim <= 0 || dim > head_dim || dim % 2 != 0) {
    raise<ModelError>("rotary embedding needs a positive, even number of dimensions, not {} of head_dim {}", dim,
                      head_dim);
  }
  const int64_t original = config.original_max_positions > 0 ? config.original_max_positions : max_positions;
  ensure(max_positions > 0, "rope_frequencies: max_positions is {}", max_positions);
  switch (config.type) {
    case RopeType::normal:
      return {plain_frequencies(static_cast<float>(config.theta), dim), 1.0};
    case RopeType::linear:
      return linear_frequencies(config, dim);
    case RopeType::dynamic:
      return dynamic_frequencies(config, dim, max_positions, sequence_length);
    case RopeType::yarn:
      return yarn_frequencies(config, dim, max_positions, original);
    case RopeType::longrope:
      return longrope_frequencies(config, dim, max_positions, original, sequence_length);
    case RopeType::llama3:
      return llama3_frequencies(config, dim, original);
  }
  raise<Error>("internal error: unknown rope type");
}

}  // namespace lorica::model
