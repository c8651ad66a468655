// Rotary position embedding: the inverse frequencies of every rope type that the model families use.
//
// Sources: RoFormer (Su et al. 2021, "default"); linear interpolation (Chen et al. 2023); dynamic NTK scaling; YaRN
// (Peng et al. 2023); LongRoPE (Ding et al. 2024); Llama 3.1's wavelength bands. The arithmetic runs in float32, in the
// order of transformers 5.23, so that the tables equal its to about one unit in the last place. Free of Torch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorica::model {

enum class RopeType { normal, linear, dynamic, yarn, longrope, llama3 };

/// The names of config.json, in the order of RopeType: "default", "linear", "dynamic", "yarn", "longrope", "llama3".
const std::vector<std::string>& rope_type_names();
std::string_view rope_type_name(RopeType type);
/// Empty when no rope type has that name.
std::optional<RopeType> parse_rope_type(std::string_view name);

/// Values of `rope_parameters` (or the older `rope_scaling` + `rope_theta`). A field that a type does not use is
/// ignored.
struct RopeConfig {
  RopeType type = RopeType::normal;
  double theta = 10000.0;
  double partial_rotary_factor = 1.0;  ///< share of head_dim that is rotated, in (0, 1]
  std::optional<double>
      factor;  ///< linear, dynamic, llama3: required; yarn, longrope: max / original positions if absent
  int64_t original_max_positions = 0;      ///< yarn, longrope, llama3: positions seen in pretraining; 0 = max_positions
  std::optional<double> attention_factor;  ///< yarn, longrope: replaces the computed scale of cos and sin
  double beta_fast = 32.0;                 ///< yarn: rotations above which a dimension is left alone
  double beta_slow = 1.0;                  ///< yarn: rotations below which a dimension is interpolated
  std::optional<double> mscale;            ///< yarn: both mscale fields set the attention scale together
  std::optional<double> mscale_all_dim;
  bool truncate = true;                ///< yarn: round the correction range to whole dimensions
  double low_frequency_factor = 1.0;   ///< llama3
  double high_frequency_factor = 4.0;  ///< llama3
  std::vector<double> short_factor;    ///< longrope, [rotary_dim / 2]: up to original_max_positions
  std::vector<double> long_factor;     ///< longrope, [rotary_dim / 2]: beyond it

  bool operator==(const RopeConfig&) const = default;
};

struct RopeFrequencies {
  std::vector<float>
      inverse_frequencies;         ///< [rotary_dim / 2], float32; rotary_dim = int(head_dim · partial_rotary_factor)
  double attention_scaling = 1.0;  ///< cos and sin are multiplied by this
};

/// The table for sequences of up to `sequence_length` positions. Only dynamic (which grows theta beyond max_positions)
/// and longrope (which switches from short to long factors) depend on it; 0 stands for "not known": the table of a
/// fresh model. Throws ModelError when head_dim is odd or not positive, a required field is missing, or a factor list
/// has the wrong length.
RopeFrequencies rope_frequencies(const RopeConfig& config, int64_t head_dim, int64_t max_positions,
                                 int64_t sequence_length);

/// True for the types whose table changes with the sequence length (dynamic, longrope).
bool rope_depends_on_length(const RopeConfig& config);

}  // namespace lorica::model
