// Causal self-attention over a ragged batch: every sequence by itself.
#pragma once

#include "model/activation.hpp"

namespace lorica::model {

/// softmax(q kᵀ / sqrt(head_dim)) v within each sequence, causal; with `window` > 0 a token sees itself and the window
/// − 1 tokens before it. q [T, heads, head_dim], k and v [T, kv_heads, head_dim] (heads a multiple of kv_heads: query
/// head h reads key head h / (heads / kv_heads)). Returns [T, heads · head_dim]. Any token stride.
/// On a CPU, float32 and bfloat16, by kernels/attention.hpp, which keeps q, k, v, the result and float32 [heads, T] for
/// backward; otherwise through ATen's attention and its autograd.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Sequences& sequences,
                     std::int64_t window);

/// The same for new tokens of one sequence behind a cache: appends k and v to it, and attends to all of it.
at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, LayerCache& cache,
                            std::int64_t window);

}  // namespace lorica::model
