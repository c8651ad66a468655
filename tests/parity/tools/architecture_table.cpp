// architecture_table MODEL_FOLDER: the architecture and every parameter of a model, as JSON, for tests/parity/.
#include <nlohmann/json.hpp>

#include <iostream>

#include "base/error.hpp"
#include "model/architecture.hpp"

namespace {

using lorica::model::Architecture;

nlohmann::json figures(const Architecture& a) {
  const auto& layer = a.layers.at(0);
  const auto& rope = a.ropes.at(0).config;
  auto windows = nlohmann::json::array();
  for (const auto& one : a.layers) windows.push_back(one.attention.window);
  return {{"family", a.family},
          {"hidden_size", a.hidden_size},
          {"intermediate_size", layer.mlp.intermediate_size},
          {"num_hidden_layers", a.layer_count()},
          {"num_attention_heads", layer.attention.heads},
          {"num_key_value_heads", layer.attention.kv_heads},
          {"head_dim", layer.attention.head_dim},
          {"vocab_size", a.vocabulary},
          {"max_position_embeddings", a.max_positions},
          {"norm_eps", a.head.norm.eps},
          {"tie_word_embeddings", a.tied_embeddings},
          {"initializer_range", a.initializer_range},
          {"dtype", a.dtype},
          {"eos_ids", a.eos_ids},
          {"sliding_window", windows},
          {"rope_type", lorica::model::rope_type_name(rope.type)},
          {"rope_theta", rope.theta},
          {"partial_rotary_factor", rope.partial_rotary_factor}};
}

nlohmann::json parameters(const Architecture& a) {
  auto list = nlohmann::json::object();
  for (const auto& block : lorica::model::describe_blocks(a)) {
    for (const auto& spec : block.parameters) {
      if (!spec.tied) list[spec.checkpoint_name] = spec.shape;
    }
  }
  return list;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const auto architecture = lorica::model::read_architecture(count > 1 ? arguments[1] : "");
    auto result = figures(architecture);
    result["parameters"] = parameters(architecture);
    result["parameter_count"] = lorica::model::parameter_count(architecture);
    result["default_targets"] = architecture.default_targets;
    std::cout << result.dump() << '\n';
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
