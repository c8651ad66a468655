// Llama 1 to 3 and what shares their layout: optional biases on all projections, full attention.
#include "model/families/family.hpp"

namespace lorica::model {

Family llama_family() {
  return {"llama", {0, 0, 2048, {2}}, {"q_proj", "v_proj"}, [](const ConfigReader& config, Architecture& architecture) {
            architecture.qkv_bias = architecture.output_bias = config.flag("attention_bias", false);
            architecture.mlp_bias = config.flag("mlp_bias", false);
          }};
}

}  // namespace lorica::model
