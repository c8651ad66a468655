// Mistral: no biases, one sliding window for all layers (null turns it off).
#include "model/families/family.hpp"

namespace lorica::model {
namespace {

constexpr int64_t kLargestWindow = int64_t{1} << 40;
constexpr int64_t kDefaultWindow = 4096;

void read_mistral(const ConfigReader& config, Architecture& architecture) {
  const int64_t window =
      config.holds_null("sliding_window") ? 0 : config.size("sliding_window", kDefaultWindow, kLargestWindow);
  architecture.sliding_window.assign(static_cast<std::size_t>(architecture.layers), window);
}

}  // namespace

Family mistral_family() {
  return {"mistral", {8, 0, 131072, {2}}, {"q_proj", "v_proj"}, read_mistral};
}

}  // namespace lorica::model
