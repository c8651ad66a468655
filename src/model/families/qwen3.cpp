// Qwen3 (dense): normalized queries and keys, a head_dim of its own, optional attention biases.
#include "model/families/family.hpp"

namespace lorica::model {
namespace {

void read_qwen3(const ConfigReader& config, Architecture& architecture) {
  architecture.qk_norm = true;
  architecture.qkv_bias = architecture.output_bias = config.flag("attention_bias", false);
  architecture.sliding_window = read_layer_windows(config, architecture.layers);
}

}  // namespace

Family qwen3_family() {
  return {"qwen3", {32, 128, 32768, {}}, {"q_proj", "v_proj"}, read_qwen3};
}

}  // namespace lorica::model
