// Qwen3 (dense): normalized queries and keys, a head_dim of its own, optional attention biases.
#include "model/families/family.hpp"

namespace lorica::model {

Family qwen3_family() {
  return {.name = "qwen3",
          .defaults = {.kv_heads = 32, .head_dim = 128, .max_positions = 32768},
          .read = [](const ConfigReader& config, Architecture& architecture) {
            for (auto& layer : architecture.layers) {
              auto& attention = layer.attention;
              attention.query_norm = norm_like(layer.before_attention, "q_norm");
              attention.key_norm = norm_like(layer.before_attention, "k_norm");
              attention.input_bias = attention.output_bias = config.flag("attention_bias", false);
            }
            read_layer_windows(config, architecture);
          }};
}

}  // namespace lorica::model
