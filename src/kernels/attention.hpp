// Causal self-attention over a ragged batch, forward and backward, without ever holding the scores of a sequence.
//
// Method: FlashAttention-2 (Dao 2023, https://arxiv.org/abs/2307.08691): blocks of queries meet blocks of keys, softmax
// is kept as a running maximum and sum, and backward makes the scores again from the logarithm of that sum. Blocks that
// the causal mask or the window hides are never visited, so packed sequences and windows cost what is visible.
//
// Elements are float32 or bfloat16 (Error for float16); all arithmetic and all sums are float32. All threads take part;
// no result depends on their number, and none on what other sequences are in the batch.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/float_type.hpp"

namespace lorica::kernels {

/// What attends to what. Strides are in elements, from token to token; a token's heads are contiguous, so that q, k and
/// v may be slices of one fused product.
struct AttentionShape {
  std::span<const std::int64_t> offsets;  ///< [S + 1], from 0: sequence s is the rows offsets[s] … offsets[s+1] of q
  std::span<const std::int64_t> key_offsets;  ///< the same for k and v; empty: as `offsets`. A sequence with more keys
                                              ///< than queries (a cache) has its queries at the end
  std::int64_t heads = 0, kv_heads = 0;       ///< query head h reads key head h / (heads / kv_heads)
  std::int64_t head_size = 0;
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  std::int64_t dq_stride = 0, dk_stride = 0, dv_stride = 0;  ///< of the gradients; 0: as those of q, k, v
  std::int64_t window = 0;  ///< token i sees the tokens j with i − window < j ≤ i; 0: all j ≤ i
  float scale = 0;          ///< of the scores, > 0; 0: head_size^(−1/2)
  float softcap = 0;        ///< c: scaled scores s become c · tanh(s / c) (Gemma 2); 0: they stay

  std::int64_t tokens() const { return offsets.empty() ? 0 : offsets.back(); }
};

/// Whether the functions below take it: a multiple of 8 up to 256.
constexpr bool attention_takes_head_size(std::int64_t size) {
  return size > 0 && size <= 256 && size % 8 == 0;
}

/// out = softmax(scale · q kᵀ) v, per sequence and head. q [T, heads, head_size], k and v [keys, kv_heads, head_size]
/// with the strides of `shape`; out [T, heads, head_size] contiguous; lse float32 [heads, T], the natural logarithm of
/// the sum of exponentials, which backward reads. Error if the shape makes no sense.
void attention(const void* q, const void* k, const void* v, FloatType type, const AttentionShape& shape, void* out,
               float* lse);

/// Its gradients: with P = exp(scale · q kᵀ − lse), dP = dout vᵀ and D = Σ dout · out of each row,
///   dv = Pᵀ dout,   dS = scale · P · (dP − D),   dq = dS k,   dk = dSᵀ q   (sums over the heads that share a key
///   head).
/// With a soft cap, s' = c · tanh(scale · q kᵀ / c) stands for scale · q kᵀ, and dS is times its slope, 1 − (s' / c)².
/// out, lse as `attention` made them, dout like out; dq, dk, dv have the shapes of q, k, v and are overwritten.
/// `key_offsets` must be empty.
void attention_backward(const void* q, const void* k, const void* v, const void* out, const float* lse,
                        const void* dout, FloatType type, const AttentionShape& shape, void* dq, void* dk, void* dv);

}  // namespace lorica::kernels
