// Causal self-attention over a ragged batch: every sequence by itself.
#pragma once

#include "model/batch.hpp"

namespace lorica::model {

struct AttentionRule {
  std::int64_t window = 0;  ///< a token sees itself and the window − 1 tokens before it; 0: all before it
  double scale = 0;         ///< of q kᵀ; 0: head_dim^(−1/2)
  double softcap = 0;       ///< c > 0: scores s become c · tanh(s / c) before they are masked
};

/// softmax(scale · q kᵀ) v within each sequence, causal. q [T, heads, head_dim], k and v [T, kv_heads, head_dim] (heads
/// a multiple of kv_heads: query head h reads key head h / (heads / kv_heads)). Returns [T, heads · head_dim]. Any
/// token stride. With a `cache`, the tokens are new ones of one sequence behind those in it: k and v are appended, and
/// attention is to all of it.
/// On a CPU, float32 and bfloat16, by kernels/attention.hpp, which keeps q, k, v, the result and float32 [heads, T] for
/// backward; otherwise through ATen's attention and its autograd (with a soft cap, composed of products and softmax).
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Batch& batch,
                     const AttentionRule& rule, LayerCache* cache = nullptr);

}  // namespace lorica::model
