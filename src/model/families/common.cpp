// What several families read alike.
#include "model/families/family.hpp"

namespace lorica::model {
namespace {

constexpr int64_t kLargestWindow = int64_t{1} << 40;
constexpr int64_t kDefaultWindow = 4096;
constexpr int64_t kDefaultWindowLayers = 28;  // layers below this one see everything

}  // namespace

NormSpec norm_like(const std::optional<NormSpec>& norm, const std::string& name) {
  auto result = norm.value();
  result.name = name;
  return result;
}

double read_softcap(const ConfigReader& config, const std::string& key, double fallback) {
  return config.holds_null(key) ? 0 : config.positive_number(key, fallback);
}

void refuse_bidirectional(const ConfigReader& config) {
  if (!config.flag("use_bidirectional_attention", false)) return;
  config.fail("use_bidirectional_attention", "is true, but Lorica trains causal models: a token sees no later one");
}

int64_t read_window(const ConfigReader& config, int64_t fallback) {
  return config.holds_null("sliding_window") ? 0 : config.size("sliding_window", fallback, kLargestWindow);
}

void set_windows_by_type(const ConfigReader& config, int64_t window, Architecture& architecture) {
  const auto types = config.texts("layer_types");
  if (static_cast<int64_t>(types.size()) != architecture.layer_count()) {
    config.fail("layer_types",
                fmt::format("names {} layers, but num_hidden_layers is {}", types.size(), architecture.layer_count()));
  }
  for (std::size_t i = 0; i < types.size(); ++i) {
    const bool sliding = types[i] == "sliding_attention";
    if (!sliding && types[i] != "full_attention" && types[i] != "attention") {
      config.fail("layer_types",
                  fmt::format("holds '{}': this model family has full_attention and sliding_attention", types[i]));
    }
    if (sliding && window == 0) {
      config.fail("layer_types", "asks for sliding_attention, but use_sliding_window is off or sliding_window is null");
    }
    architecture.layers[i].attention.window = sliding ? window : 0;
  }
}

void read_layer_windows(const ConfigReader& config, Architecture& architecture) {
  const bool on = config.flag("use_sliding_window", false);
  const auto window = on ? read_window(config, kDefaultWindow) : 0;
  if (config.has("layer_types")) return set_windows_by_type(config, window, architecture);
  // 0 is a fair value here: every layer slides.
  const double first = config.number("max_window_layers", static_cast<double>(kDefaultWindowLayers));
  for (std::size_t i = 0; i < architecture.layers.size(); ++i) {
    architecture.layers[i].attention.window = static_cast<double>(i) >= first ? window : 0;
  }
}

}  // namespace lorica::model
