// What one decoder layer, the embedding and the head are made of: figures and names, filled by the family's file from
// config.json. Nothing below that file asks for a family. Free of Torch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/rope.hpp"

namespace lorica::model {

enum class NormKind {
  rms,           ///< x / rms(x), rounded to x's dtype, times the weight
  rms_once,      ///< x / rms(x) times the weight, rounded once
  rms_plus_one,  ///< x / rms(x) times (1 + weight), rounded once
  layer,         ///< (x − mean) / deviation, times the weight, plus the bias if there is one
};

struct NormSpec {
  std::string name;  ///< "input_layernorm"
  NormKind kind = NormKind::rms;
  double eps = 1e-6;
  bool bias = false;  ///< layer: adds one
};

/// What stands between the matrices of a feed-forward part.
enum class ActivationKind { silu, gelu_tanh, gelu };

/// Rotary tables that layers can share.
struct RopeSpec {
  RopeConfig config;
  int64_t head_dim = 0;  ///< the rotated share of it is config.partial_rotary_factor
};

struct AttentionSpec {
  std::string name = "self_attn";
  /// The matrices that make queries, keys and values: three, or one whose rows are those of the three, in this order.
  std::vector<std::string> inputs{"q_proj", "k_proj", "v_proj"};
  std::string output = "o_proj";
  int64_t heads = 0;
  int64_t kv_heads = 0;  ///< divides heads
  int64_t head_dim = 0;  ///< even; heads · head_dim need not equal hidden_size
  bool input_bias = false, output_bias = false;
  std::optional<NormSpec> query_norm, key_norm;  ///< of each head, before rotary embedding
  bool norms_all_heads = false;                  ///< they are over all heads together instead
  int rope = 0;                                  ///< which of Architecture::ropes; kNoRope: none
  bool interleaved = false;                      ///< rotary embedding turns neighbours (2i, 2i + 1), not halves
  int64_t window = 0;                            ///< a token sees this many, itself included; 0: all earlier ones
  double scale = 0;                              ///< of the scores; 0: head_dim^(−1/2)
  double softcap = 0;                            ///< c: scores become c · tanh(score / c); 0: they stay

  static constexpr int kNoRope = -1;
  bool fused() const { return inputs.size() == 1; }
  int64_t query_size() const { return heads * head_dim; }
  int64_t kv_size() const { return kv_heads * head_dim; }
};

struct MlpSpec {
  std::string name = "mlp";
  /// Gated: the gate's matrix and that of what it lets through, or one with the rows of both. Plain: one matrix.
  std::vector<std::string> inputs{"gate_proj", "up_proj"};
  std::string output = "down_proj";
  bool gated = true;
  int64_t intermediate_size = 0;
  ActivationKind activation = ActivationKind::silu;
  bool input_bias = false, output_bias = false;

  bool fused() const { return gated && inputs.size() == 1; }
};

enum class Arrangement {
  sequential,  ///< x += attention(x), then x += mlp(x)
  parallel,    ///< x += attention(norm(x)) + mlp(norm(x)), of one norm
};

struct LayerSpec {
  AttentionSpec attention;
  MlpSpec mlp;
  /// Of what enters a part, and of what leaves it before it is added. Parallel: before_attention alone, for both.
  std::optional<NormSpec> before_attention, after_attention, before_mlp, after_mlp;
  Arrangement arrangement = Arrangement::sequential;
  double residual_multiplier = 1;  ///< of what a part adds
};

struct EmbeddingSpec {
  double multiplier = 1;  ///< rounded to the table's dtype
};

struct HeadSpec {
  NormSpec norm;
  double logit_multiplier = 1;
  double softcap = 0;  ///< c: logits become c · tanh(logit / c); 0: they stay
};

}  // namespace lorica::model
