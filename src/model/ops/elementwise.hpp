// The cheap operations between matrix products, each with a hand-written backward that keeps as little as it can.
// float32 and bfloat16 on the CPU run kernels/elementwise.hpp; all else is composed of ATen operations, which run on
// any device.
#pragma once

#include "model/layer_spec.hpp"
#include "model/ops/kept.hpp"

namespace lorica::model {

struct RmsRule {
  RmsRule(double eps, bool plus_one = false, bool rounds_first = true)
      : eps(eps), plus_one(plus_one), rounds_first(rounds_first) {}
  double eps;
  bool plus_one;      ///< the weight is what is added to 1
  bool rounds_first;  ///< to x's dtype, before the weight is applied, and then again
};

/// Root-mean-square normalization (Zhang, Sennrich 2019): x / sqrt(mean(x²) + eps) · weight, over the last dimension.
/// Computed in float32 (float64 for float64), rounded as the rule says.
/// x [..., features], weight [features]. Backward keeps x and one number a row. With `selective`, the result carries a
/// recipe.
Value rms_norm(const at::Tensor& x, const at::Tensor& weight, const RmsRule& rule, bool selective);

/// What a residual branch begins with: the stream, and its norm for the branch.
struct Branch {
  at::Tensor stream;  ///< x + change
  Value normalized;   ///< rms_norm(stream)
};

/// x + change (x alone if `change` is undefined) and rms_norm of it as one operation, so that the gradients of both
/// meet in one pass. x, change [T, features]; otherwise as rms_norm.
Branch add_rms_norm(const at::Tensor& x, const at::Tensor& change, const at::Tensor& weight, const RmsRule& rule,
                    bool selective);

/// x + change, of the same shape.
at::Tensor residual_sum(const at::Tensor& x, const at::Tensor& change);

/// f(gate) ⊙ up with f = `kind`: SwiGLU, GEGLU (Shazeer 2020). Backward keeps gate and up, rounded to bfloat16 if
/// keeping.narrow. With keeping.selective, the result carries a recipe, from what is kept. gate, up [..., features].
Value gated(const at::Tensor& gate, const at::Tensor& up, ActivationKind kind, const Keeping& keeping);
/// The same of one tensor [T, 2 · features] that holds both side by side, the gate first.
Value gated(const at::Tensor& gate_and_up, ActivationKind kind, const Keeping& keeping);

/// f(x). Backward keeps x. With keeping.selective, the result carries a recipe.
Value activated(const at::Tensor& x, ActivationKind kind, const Keeping& keeping);

/// Rotary position embedding (Su et al. 2021) in the half-split layout of Hugging Face's Llama:
/// x·cos + rotate_half(x)·sin. x [T, heads, head_dim]; cosine, sine float32 [T, rotary_dim / 2]; the dimensions of a
/// head beyond rotary_dim stay as they are. `interleaved`: neighbours are pairs (2i, 2i + 1), not halves. Backward
/// keeps only the tables.
at::Tensor rotary(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine, bool interleaved = false);

}  // namespace lorica::model
