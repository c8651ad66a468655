// The cheap operations between matrix products: RMS normalization, gated activations, rotary embedding, dropout and
// cross entropy, forward and backward.
//
// Elements are float32 or bfloat16 (Error for float16); all arithmetic is float32, rounded once when it is stored.
// Rows are dealt out to all threads; results do not depend on their number. `x`, `y` and the gradients of one call
// have the same type. An output may be the same array as an input of the same layout, but must not overlap it
// otherwise.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/float_type.hpp"

namespace lorica::kernels {

struct RmsRule {
  RmsRule(float eps, bool rounds_first = true) : eps(eps), rounds_first(rounds_first) {}
  float eps;
  bool rounds_first;  ///< to the type of x, before the weight is applied: Llama does, Gemma doesn't
};

/// Root-mean-square normalization (Zhang, Sennrich 2019, https://arxiv.org/abs/1910.07467):
///   y = round(x · r) · w,   r = (mean(x²) + eps)^(−1/2) of each row; the inner rounding is to `type`, or
/// none. x, y [rows, features] contiguous; weight float32 [features].
void rms_norm(const void* x, const float* weight, FloatType type, std::int64_t rows, std::int64_t features,
              const RmsRule& rule, void* y);

/// sum = round(x + change), and rms_norm of that in one pass. All [rows, features] contiguous, of `type`; y null: only
/// the sum.
void add_rms_norm(const void* x, const void* change, const float* weight, FloatType type, std::int64_t rows,
                  std::int64_t features, const RmsRule& rule, void* sum, void* y);

/// The gradient of rms_norm: with n = x·r and g = dy·w,  dx = r · (g − n · mean(g·n)) + dsum,  dw = Σ_rows dy·n
/// (overwritten, not added). dsum [rows, features] of `type` is a gradient that reaches x past the norm, or null.
/// dx [rows, features] of `type` or null; dweight float32 [features] or null: what is null is not computed.
void rms_norm_backward(const void* x, const float* weight, const void* dy, const void* dsum, FloatType type,
                       std::int64_t rows, std::int64_t features, float eps, void* dx, float* dweight);

/// The function of a gate: silu(x) = x · sigmoid(x); gelu_tanh(x) = x · sigmoid(2u), u = √(2/π) (x + 0.044715 x³),
/// which is ½ x (1 + tanh u) (Hendrycks, Gimpel 2016, https://arxiv.org/abs/1606.08415).
enum class Gate { silu, gelu_tanh };

/// What a gated activation takes: [rows, features] each. `type` may differ from that of y and of the gradients: what
/// was kept for backward may be narrower than what is computed with.
struct GatedInput {
  const void *gate = nullptr, *up = nullptr;
  FloatType type = FloatType::f32;
  std::int64_t stride = 0;  ///< elements from row to row, of both; 0: contiguous
};

/// Where the gradients of both go, of the type of y.
struct GatedGradient {
  void *gate = nullptr, *up = nullptr;
  std::int64_t stride = 0;  ///< as in GatedInput
};

/// SwiGLU and GEGLU (Shazeer 2020, https://arxiv.org/abs/2002.05202): y = f(gate) · up, of `type`, contiguous.
/// `kept_gate` and `kept_up`, if not null, become the input rounded to bfloat16, contiguous.
void gated(const GatedInput& in, Gate f, std::int64_t rows, std::int64_t features, FloatType type, void* y,
           std::uint16_t* kept_gate = nullptr, std::uint16_t* kept_up = nullptr);

/// Its gradient: dup = dy · f(gate),  dgate = dy · up · f'(gate), with f'(x) = s · (1 + x · (1 − s) · v'(x)) where f(x)
/// = x · s, s = sigmoid(v(x)). dy contiguous, all of `type`.
void gated_backward(const GatedInput& in, Gate f, const void* dy, FloatType type, std::int64_t rows,
                    std::int64_t features, const GatedGradient& out);

/// What rotary embedding works on.
struct RotaryShape {
  std::int64_t tokens = 0, heads = 0;
  std::int64_t head_size = 0;    ///< elements of a head; heads of a token are contiguous
  std::int64_t rotary_size = 0;  ///< even, ≤ head_size: the leading elements of a head that turn; the rest is copied
  std::int64_t stride = 0;       ///< elements from token to token, ≥ heads · head_size; of x and of y
};

/// Rotary position embedding (Su et al. 2021, https://arxiv.org/abs/2104.09864) in Hugging Face's half-split layout:
/// with h = rotary_size / 2, the pair (x[i], x[i+h]) becomes (x[i]·c − x[i+h]·s, x[i+h]·c + x[i]·s), i < h.
/// cosine, sine float32 [tokens, h]. `inverse` turns the other way, which is also the gradient.
void rotary(const void* x, const float* cosine, const float* sine, FloatType type, const RotaryShape& shape,
            bool inverse, void* y);

/// Which values dropout keeps: those whose dropout_hash (kernels/dropout_hash.hpp) is not below `limit`.
struct DropoutRule {
  std::uint64_t limit = 0;  ///< probability · 2³², up to 2³²: nothing is kept
  float scale = 1;          ///< of what is kept: 1 / (1 − probability)
};
/// The key of each row's hashes, [rows].
using DropoutKeys = std::span<const std::uint32_t>;

/// y = round(x · scale) where the rule keeps it, else 0. Also its own gradient. x, y [rows, features] contiguous.
void dropout(const void* x, DropoutKeys keys, const DropoutRule& rule, FloatType type, std::int64_t rows,
             std::int64_t features, void* y);

/// sum = round(sum + dropout(x)).
void add_dropout(const void* x, DropoutKeys keys, const DropoutRule& rule, FloatType type, std::int64_t rows,
                 std::int64_t features, void* sum);

/// Cross entropy of rows of logits with the class that each should have: Σ over rows of log Σ exp(x) − x[label]. With
/// `gradient` the logits become its gradient, softmax(x) − one-hot(label); without, they may be overwritten.
/// logits float32 [rows, classes] contiguous; labels in [0, classes). A row's sum of exponentials is float32 within
/// pieces of 4,096 classes and float64 over them; the sum over rows is float64, in their order.
double cross_entropy(float* logits, const std::int64_t* labels, std::int64_t rows, std::int64_t classes, bool gradient);

}  // namespace lorica::kernels
