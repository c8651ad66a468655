// What a model is made of: the figures of its config.json, and the list of blocks and parameters that follows from
// them.
//
// One table entry per family (families/*.cpp) knows its config keys and defaults, which are those of transformers 5.23.
// Everything below works on `Architecture` and never asks for the family's name. Free of Torch.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/account.hpp"
#include "model/rope.hpp"

namespace lorica::model {

/// A decoder-only transformer: pre-norm RMSNorm blocks, grouped-query attention with rotary embedding, SwiGLU.
struct Architecture {
  std::string family;  ///< config.json's model_type: "llama", "mistral", "qwen2", "qwen3"
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  ///< divides heads
  int64_t head_dim = 0;  ///< even; heads · head_dim need not equal hidden_size
  int64_t vocabulary = 0;
  int64_t max_positions = 0;
  double rms_norm_eps = 1e-6;
  bool qkv_bias = false;     ///< q_proj, k_proj, v_proj
  bool output_bias = false;  ///< o_proj
  bool mlp_bias = false;     ///< gate_proj, up_proj, down_proj
  bool qk_norm = false;      ///< RMSNorm over head_dim of each query and key head, before rotary embedding
  bool tied_embeddings = false;
  std::vector<int64_t> sliding_window;  ///< [layers]: a token sees this many, itself included; 0 = all earlier ones
  RopeConfig rope;
  double initializer_range = 0.02;
  std::string dtype;             ///< "float32", "bfloat16", "float16", or "" when config.json doesn't say
  std::vector<int64_t> eos_ids;  ///< may be empty
  nlohmann::json raw;            ///< the whole config.json
  Account account;               ///< its keys that nothing here uses

  int64_t query_size() const { return heads * head_dim; }
  int64_t kv_size() const { return kv_heads * head_dim; }
};

/// Reads `model_folder`/config.json. Throws FileError when it can't be read, ModelError (naming the file and the key)
/// when it is not JSON, the model type is unknown, a key is missing or has the wrong type, a size is not positive,
/// heads is no multiple of kv_heads, hidden_act is not silu, the rope type is unknown, or a key decides the model's
/// numbers that the family has no use for (see config_keys.hpp).
Architecture read_architecture(const std::filesystem::path& model_folder);

/// The same from a parsed config; `origin` names it in messages.
Architecture parse_architecture(const nlohmann::json& config, const std::string& origin);

/// The model types that read_architecture knows.
std::vector<std::string> known_families();

/// The projections that PEFT trains when no target modules are named ("q_proj", "v_proj" for the families here). Throws
/// ModelError for an unknown family.
std::vector<std::string> default_target_modules(const std::string& family);

/// The projections of a decoder layer by their last name: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj,
/// down_proj.
const std::vector<std::string>& projection_names();

enum class Role { embedding, norm, linear, bias, head };

struct ParameterSpec {
  std::string name;  ///< within its block: "self_attn.q_proj.weight", "embed_tokens.weight", "lm_head.weight"
  std::string checkpoint_name;  ///< in the safetensors files: "model.layers.3.self_attn.q_proj.weight"
  std::vector<int64_t> shape;   ///< linear and head: [out, in]; embedding: [vocabulary, hidden]; norm and bias: [size]
  Role role = Role::linear;
  bool tied =
      false;  ///< the head of a tied model: the same tensor as the embedding, under the embedding's checkpoint name

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

/// embedding, decoder layers in order, head (final norm and lm_head).
std::vector<BlockSpec> describe_blocks(const Architecture& architecture);

/// Elements of all parameters; a tied head counts once.
int64_t parameter_count(const Architecture& architecture);
/// Elements of one block; a tied head counts nothing here.
int64_t parameter_count(const BlockSpec& block);

}  // namespace lorica::model
