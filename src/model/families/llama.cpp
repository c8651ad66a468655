// Llama 1 to 3 and what shares their layout: optional biases on all projections, full attention.
#include "model/families/family.hpp"

namespace lorica::model {

Family llama_family() {
  return {.name = "llama",
          .defaults = {.eos_ids = {2}},
          .read = [](const ConfigReader& config, Architecture& architecture) {
            for (auto& layer : architecture.layers) {
              layer.attention.input_bias = layer.attention.output_bias = config.flag("attention_bias", false);
              layer.mlp.input_bias = layer.mlp.output_bias = config.flag("mlp_bias", false);
            }
          }};
}

}  // namespace lorica::model
