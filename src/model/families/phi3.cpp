// Phi-3, 3.5 and 4 (mini): one matrix for queries, keys and values, one for gate and up, heads rotated in part,
// LongRoPE.
#include "model/families/family.hpp"

namespace lorica::model {

Family phi3_family() {
  return {
      .name = "phi3",
      .default_targets = {"qkv_proj"},  // PEFT has no choice of its own; this one is its q_proj and v_proj elsewhere
      .defaults = {.max_positions = 4096,
                   .eos_ids = {32000},
                   .norm_eps = 1e-5,
                   .partial_rotary_factor = 1.0,
                   .original_max_positions = 4096,
                   .rope_type_aliases = {{"su", "longrope"}, {"yarn", "longrope"}}},
      .read = [](const ConfigReader& config, Architecture& architecture) {
        const auto window = read_window(config, 0);
        for (auto& layer : architecture.layers) {
          layer.attention.inputs = {"qkv_proj"};
          layer.attention.window = window;
          layer.mlp.inputs = {"gate_up_proj"};
        }
      }};
}

}  // namespace lorica::model
