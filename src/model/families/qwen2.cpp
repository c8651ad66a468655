// Qwen2 and Qwen2.5: biases on q, k and v always, sliding windows in the upper layers when asked for.
#include "model/families/family.hpp"

namespace lorica::model {

Family qwen2_family() {
  return {.name = "qwen2",
          .defaults = {.kv_heads = 32, .max_positions = 32768},
          .read = [](const ConfigReader& config, Architecture& architecture) {
            for (auto& layer : architecture.layers) layer.attention.input_bias = true;
            read_layer_windows(config, architecture);
          }};
}

}  // namespace lorica::model
