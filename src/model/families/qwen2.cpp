// Qwen2 and Qwen2.5: biases on q, k and v always, sliding windows in the upper layers when asked for.
#include "model/families/family.hpp"

namespace lorica::model {
namespace {

constexpr int64_t kLargestWindow = int64_t{1} << 40;
constexpr int64_t kDefaultWindow = 4096;
constexpr int64_t kDefaultWindowLayers = 28;  // layers below this one see everything

void read_qwen2(const ConfigReader& config, Architecture& architecture) {
  architecture.qkv_bias = true;
  architecture.sliding_window = read_layer_windows(config, architecture.layers);
}

/// The windows that `layer_types` spells out; `window` is 0 when the config turns windows off.
std::vector<int64_t> windows_by_type(const ConfigReader& config, int64_t layers, int64_t window) {
  const auto types = config.texts("layer_types");
  if (static_cast<int64_t>(types.size()) != layers) {
    config.fail("layer_types", fmt::format("names {} layers, but num_hidden_layers is {}", types.size(), layers));
  }
  std::vector<int64_t> result;
  for (const auto& type : types) {
    const bool sliding = type == "sliding_attention";
    if (!sliding && type != "full_attention" && type != "attention") {
      config.fail("layer_types",
                  fmt::format("holds '{}': this model family has full_attention and sliding_attention", type));
    }
    if (sliding && window == 0) {
      config.fail("layer_types", "asks for sliding_attention, but use_sliding_window is off or sliding_window is null");
    }
    result.push_back(sliding ? window : 0);
  }
  return result;
}

}  // namespace

std::vector<int64_t> read_layer_windows(const ConfigReader& config, int64_t layers) {
  const bool on = config.flag("use_sliding_window", false) && !config.holds_null("sliding_window");
  const int64_t window = on ? config.size("sliding_window", kDefaultWindow, kLargestWindow) : 0;
  if (config.has("layer_types")) return windows_by_type(config, layers, window);
  // 0 is a fair value here: every layer slides.
  const double first = config.number("max_window_layers", static_cast<double>(kDefaultWindowLayers));
  std::vector<int64_t> result;
  for (int64_t layer = 0; layer < layers; ++layer) result.push_back(static_cast<double>(layer) >= first ? window : 0);
  return result;
}

Family qwen2_family() {
  return {"qwen2", {32, 0, 32768, {}}, {"q_proj", "v_proj"}, read_qwen2};
}

}  // namespace lorica::model
