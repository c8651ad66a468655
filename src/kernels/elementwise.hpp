// The cheap operations between matrix products: RMS normalization, SwiGLU, rotary embedding, dropout and cross entropy,
// forward and backward.
//
// Elements are float32 or bfloat16 (Error for float16); all arithmetic is float32, rounded once when it is stored.
// Rows are dealt out to all threads; results do not depend on their number. `x`, `y` and the gradients of one call
// have the same type. An output may be the same array as an input of the same layout, but must not overlap it
// otherwise.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/float_type.hpp"

namespace lorica::kernels {

/// Root-mean-square normalization (Zhang, Sennrich 2019, https://arxiv.org/abs/1910.07467):
///   y = round(x · r) · w,   r = (mean(x²) + eps)^(−1/2) of each row; the inner rounding is to `type`, as Hugging
/// Face's Llama has it. x, y [rows, features] contiguous; weight float32 [features].
void rms_norm(const void* x, const float* weight, FloatType type, std::int64_t rows, std::int64_t features, float eps,
              void* y);

/// sum = round(x + change), and rms_norm of that in one pass. All [rows, features] contiguous, of `type`; y null: only
/// the sum.
void add_rms_norm(const void* x, const void* change, const float* weight, FloatType type, std::int64_t rows,
                  std::int64_t features, float eps, void* sum, void* y);

/// The gradient of rms_norm: with n = x·r and g = dy·w,  dx = r · (g − n · mean(g·n)) + dsum,  dw = Σ_rows dy·n
/// (overwritten, not added). dsum [rows, features] of `type` is a gradient that reaches x past the norm, or null.
/// dx [rows, features] of `type` or null; dweight float32 [features] or null: what is null is not computed.
void rms_norm_backward(const void* x, const float* weight, const void* dy, const void* dsum, FloatType type,
                       std::int64_t rows, std::int64_t features, float eps, void* dx, float* dweight);

/// What SwiGLU takes: [rows, features] each, contiguous. `type` may differ from that of y and of the gradients: what
/// was kept for backward may be narrower than what is computed with.
struct GatedInput {
  const void *gate = nullptr, *up = nullptr;
  FloatType type = FloatType::f32;
};

/// SwiGLU (Shazeer 2020, https://arxiv.org/abs/2002.05202): y = gate · sigmoid(gate) · up, of `type`. `kept_gate` and
/// `kept_up`, if not null, become the input rounded to bfloat16.
void swiglu(const GatedInput& in, std::int64_t rows, std::int64_t features, FloatType type, void* y,
            std::uint16_t* kept_gate = nullptr, std::uint16_t* kept_up = nullptr);

/// Its gradient, with s = sigmoid(gate): dup = dy · gate · s,  dgate = dy · up · s · (1 + gate · (1 − s)); all of
/// `type`.
void swiglu_backward(const GatedInput& in, const void* dy, FloatType type, std::int64_t rows, std::int64_t features,
                     void* dgate, void* dup);

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
/// The key of a row's hashes; called once a row, on any thread.
using DropoutKey = std::function<std::uint32_t(std::int64_t row)>;

/// y = round(x · scale) where the rule keeps it, else 0. Also its own gradient. x, y [rows, features] contiguous.
void dropout(const void* x, const DropoutKey& key, const DropoutRule& rule, FloatType type, std::int64_t rows,
             std::int64_t features, void* y);

/// sum = round(sum + dropout(x)).
void add_dropout(const void* x, const DropoutKey& key, const DropoutRule& rule, FloatType type, std::int64_t rows,
                 std::int64_t features, void* sum);

/// Cross entropy of rows of logits with the class that each should have: Σ over rows of log Σ exp(x) − x[label]. With
/// `gradient` the logits become its gradient, softmax(x) − one-hot(label); without, they may be overwritten.
/// logits float32 [rows, classes] contiguous; labels in [0, classes). A row's sum of exponentials is float32 within
/// pieces of 4,096 classes and float64 over them; the sum over rows is float64, in their order.
double cross_entropy(float* logits, const std::int64_t* labels, std::int64_t rows, std::int64_t classes, bool gradient);

}  // namespace lorica::kernels
