// Gemma 2: norms before and after each part that add 1 to their weight, soft caps on scores and logits, scaled
// embeddings, a gated GELU, sliding windows in every other layer.
#include <cmath>

#include "model/families/family.hpp"

namespace lorica::model {
namespace {

void read_gemma2(const ConfigReader& config, Architecture& architecture) {
  refuse_bidirectional(config);
  const auto window = read_window(config, 4096);
  for (std::size_t i = 0; i < architecture.layers.size(); ++i) {
    auto& layer = architecture.layers[i];
    auto& attention = layer.attention;
    attention.input_bias = attention.output_bias = config.flag("attention_bias", false);
    attention.scale = 1 / std::sqrt(config.positive_number("query_pre_attn_scalar", 256));
    attention.softcap = read_softcap(config, "attn_logit_softcapping", 50);
    attention.window = i % 2 == 0 ? window : 0;
    layer.after_attention = norm_like(layer.before_attention, "post_attention_layernorm");
    layer.before_mlp = norm_like(layer.before_attention, "pre_feedforward_layernorm");
    layer.after_mlp = norm_like(layer.before_attention, "post_feedforward_layernorm");
  }
  if (config.has("layer_types")) set_windows_by_type(config, window, architecture);
  architecture.embedding.multiplier = std::sqrt(static_cast<double>(architecture.hidden_size));
  architecture.head.softcap = read_softcap(config, "final_logit_softcapping", 30);
}

}  // namespace

Family gemma2_family() {
  return {.name = "gemma2",
          .defaults = {.kv_heads = 4,
                       .head_dim = 256,
                       .max_positions = 8192,
                       .eos_ids = {1},
                       .tied_embeddings = true,
                       .activation_key = "hidden_activation",
                       .activation = ActivationKind::gelu_tanh,
                       .norm = NormKind::rms_plus_one},
          .read = read_gemma2};
}

}  // namespace lorica::model
