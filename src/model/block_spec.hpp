// The parameters of a model, block by block. Free of Torch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lorica::model {

enum class Role { embedding, norm, linear, bias, head };

struct ParameterSpec {
  std::string name;  ///< within its block: "self_attn.q_proj.weight", "embed_tokens.weight", "lm_head.weight"
  std::string checkpoint_name;  ///< in the safetensors files: "model.layers.3.self_attn.q_proj.weight"
  std::vector<int64_t> shape;   ///< linear and head: [out, in]; embedding: [vocabulary, hidden]; norm and bias: [size]
  Role role = Role::linear;
  bool tied =
      false;  ///< the head of a tied model: the same tensor as the embedding, under the embedding's checkpoint name
  double neutral = 0;  ///< norm and bias: the value that changes nothing, where there are no weights to load

  int64_t count() const;
};

struct BlockSpec {
  enum class Kind { embedding, decoder, head };
  Kind kind = Kind::decoder;
  int64_t layer = -1;  ///< 0 … layers−1 for a decoder block, else −1
  std::string name;    ///< "embedding", "layers.3", "head"
  std::vector<ParameterSpec> parameters;

  /// The parameter of that local name. Throws Error (ours) when there is none.
  const ParameterSpec& parameter(const std::string& local_name) const;
};

/// Elements of one block; a tied head counts nothing here.
int64_t parameter_count(const BlockSpec& block);

// Local names that the engine knows: those of what may be shared by two blocks.
inline constexpr const char* kEmbeddingWeight = "embed_tokens.weight";
inline constexpr const char* kHeadWeight = "lm_head.weight";

}  // namespace lorica::model
