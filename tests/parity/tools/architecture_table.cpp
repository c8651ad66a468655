// architecture_table MODEL_FOLDER: the architecture and every parameter of a model, as JSON, for tests/parity/.
#include <nlohmann/json.hpp>

#include <iostream>

#include "base/error.hpp"
#include "model/architecture.hpp"

namespace {

using lorica::model::Architecture;

nlohmann::json figures(const Architecture& a) {
  return {{"family", a.family},
          {"hidden_size", a.hidden_size},
          {"intermediate_size", a.intermediate_size},
          {"num_hidden_layers", a.layers},
          {"num_attention_heads", a.heads},
          {"num_key_value_heads", a.kv_heads},
          {"head_dim", a.head_dim},
          {"vocab_size", a.vocabulary},
          {"max_position_embeddings", a.max_positions},
          {"rms_norm_eps", a.rms_norm_eps},
          {"tie_word_embeddings", a.tied_embeddings},
          {"initializer_range", a.initializer_range},
          {"dtype", a.dtype},
          {"eos_ids", a.eos_ids},
          {"sliding_window", a.sliding_window},
          {"rope_type", lorica::model::rope_type_name(a.rope.type)},
          {"rope_theta", a.rope.theta}};
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
    result["default_targets"] = lorica::model::default_target_modules(architecture.family);
    std::cout << result.dump() << '\n';
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
