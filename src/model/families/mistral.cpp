// Mistral: no biases, one sliding window for all layers (null turns it off).
#include "model/families/family.hpp"

namespace lorica::model {

Family mistral_family() {
  return {.name = "mistral",
          .defaults = {.kv_heads = 8, .max_positions = 131072, .eos_ids = {2}},
          .read = [](const ConfigReader& config, Architecture& architecture) {
            const auto window = read_window(config, 4096);
            for (auto& layer : architecture.layers) layer.attention.window = window;
          }};
}

}  // namespace lorica::model
