#include "model/ops/attention.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention.hpp"
#include "model/ops/kernel_operand.hpp"
#include "model/scope.hpp"

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Offsets = std::vector<std::int64_t>;

/// Whether kernels/attention.hpp does it. ATen does the rest.
bool has_kernel(const at::Tensor& q) {
  return kernels_take(q) && kernels::attention_takes_head_size(q.size(2));
}

/// x itself if the heads of each token are contiguous, as those of a slice of a fused product are; otherwise a copy.
at::Tensor with_whole_tokens(const at::Tensor& x) {
  const bool whole = x.stride(2) == 1 && x.stride(1) == x.size(2) && x.stride(0) >= x.size(1) * x.size(2);
  return whole ? x : x.contiguous();
}

/// `offsets` must outlive the result.
kernels::AttentionShape shape_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Offsets& offsets,
                                 const AttentionRule& rule) {
  kernels::AttentionShape shape;
  shape.offsets = offsets;
  shape.heads = q.size(1), shape.kv_heads = k.size(1), shape.head_size = q.size(2);
  shape.q_stride = q.stride(0), shape.k_stride = k.stride(0), shape.v_stride = v.stride(0);
  shape.dq_stride = shape.heads * shape.head_size;
  shape.dk_stride = shape.dv_stride = shape.kv_heads * shape.head_size;
  shape.window = rule.window;
  shape.scale = static_cast<float>(rule.scale);
  shape.softcap = static_cast<float>(rule.softcap);
  return shape;
}

struct Attended {
  at::Tensor out;  ///< [tokens, heads · head_dim]
  at::Tensor lse;  ///< float32 [heads, tokens]
};

Attended run_kernel(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const kernels::AttentionShape& shape) {
  Attended result{at::empty({q.size(0), q.size(1) * q.size(2)}, q.options()),
                  at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat))};
  kernels::attention(q.data_ptr(), k.data_ptr(), v.data_ptr(), type_of(q), shape, result.out.data_ptr(),
                     result.lse.data_ptr<float>());
  return result;
}

struct RaggedAttention : torch::autograd::Function<RaggedAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q_in, const at::Tensor& k_in,
                            const at::Tensor& v_in, const Offsets& offsets, const AttentionRule& rule) {
    const Operation operation("lorica::attention", {q_in, k_in, v_in});
    const auto q = with_whole_tokens(q_in), k = with_whole_tokens(k_in), v = with_whole_tokens(v_in);
    const auto [out, lse] = run_kernel(q, k, v, shape_of(q, k, v, offsets, rule));
    ctx->save_for_backward({q, k, v, out, lse});
    ctx->saved_data["offsets"] = offsets;
    ctx->saved_data["window"] = rule.window;
    ctx->saved_data["scale"] = rule.scale;
    ctx->saved_data["softcap"] = rule.softcap;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
    const Operation operation("lorica::attention_backward", {q, k, v});
    const auto dout = grads[0].contiguous();
    const auto like = [](const at::Tensor& x) { return at::empty(x.sizes(), x.options()); };
    auto dq = like(q), dk = like(k), dv = like(v);
    const auto offsets = ctx->saved_data["offsets"].toIntVector();
    const AttentionRule rule{ctx->saved_data["window"].toInt(), ctx->saved_data["scale"].toDouble(),
                             ctx->saved_data["softcap"].toDouble()};
    kernels::attention_backward(q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), saved[4].data_ptr<float>(),
                                dout.data_ptr(), type_of(q), shape_of(q, k, v, offsets, rule), dq.data_ptr(),
                                dk.data_ptr(), dv.data_ptr());
    return {dq, dk, dv, at::Tensor(), at::Tensor()};
  }
};

/// New tokens of one sequence behind a cache that holds them already. Without gradients.
at::Tensor behind_cache(const at::Tensor& q_in, const LayerCache& cache, const AttentionRule& rule) {
  const auto q = with_whole_tokens(q_in);
  const Offsets queries{0, q.size(0)}, keys{0, cache.length};
  auto shape = shape_of(q, cache.keys, cache.values, queries, rule);
  shape.key_offsets = keys;
  return run_kernel(q, cache.keys, cache.values, shape).out;
}

/// [rows, heads, dim] -> [1, heads, rows, dim], a view.
at::Tensor by_head(const at::Tensor& x) {
  return x.transpose(0, 1).unsqueeze(0);
}

/// [1, heads, rows, dim] -> [rows, heads · dim].
at::Tensor by_row(const at::Tensor& x) {
  return x.squeeze(0).transpose(0, 1).reshape({x.size(2), x.size(1) * x.size(3)});
}

/// The products of attention with the scores capped, all at once: q [1, heads, rows, dim], k and v [1, kv_heads, keys,
/// dim], mask [rows, keys]. Scores and softmax are float32 at least.
at::Tensor capped(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask, double scale,
                  double softcap) {
  const auto groups = q.size(1) / k.size(1);
  const auto repeated = [&](const at::Tensor& x) { return groups == 1 ? x : x.repeat_interleave(groups, 1); };
  auto scores = at::matmul(q, repeated(k).transpose(2, 3));
  scores = scores.to(at::promote_types(scores.scalar_type(), at::kFloat));
  scores = at::tanh(scores * (scale / softcap)) * softcap;
  scores = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(scores, -1).to(v.scalar_type()), repeated(v));
}

double scale_of(const at::Tensor& q, const AttentionRule& rule) {
  return rule.scale > 0 ? rule.scale : 1 / std::sqrt(static_cast<double>(q.size(2)));
}

/// Query rows that stand at `first` … of keys that stand at `key_first` …, masked to the causal window.
at::Tensor windowed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t first,
                    std::int64_t key_first, const AttentionRule& rule) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(q.device());
  const auto rows = at::arange(first, first + q.size(0), options).unsqueeze(1);
  const auto columns = at::arange(key_first, key_first + k.size(0), options).unsqueeze(0);
  auto mask = columns.le(rows);
  if (rule.window > 0) mask = mask.logical_and(columns.gt(rows - rule.window));
  const auto scale = scale_of(q, rule);
  if (rule.softcap > 0) return by_row(capped(by_head(q), by_head(k), by_head(v), mask, scale, rule.softcap));
  const bool grouped = q.size(1) != k.size(1);
  return by_row(at::scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), mask, 0.0, false, scale, grouped));
}

/// One sequence.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionRule& rule) {
  const auto length = q.size(0);
  const auto window = rule.window > 0 ? std::min(rule.window, length) : length;
  if (window == length && rule.softcap == 0) {
    const bool grouped = q.size(1) != k.size(1);
    return by_row(at::scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), {}, 0.0, true, scale_of(q, rule),
                                                   grouped));
  }
  // Blocks of queries, each against only the keys that its window reaches: memory stays linear in the length.
  const std::int64_t block = std::max<std::int64_t>(64, std::min<std::int64_t>(window, 512));
  std::vector<at::Tensor> parts;
  for (std::int64_t begin = 0; begin < length; begin += block) {
    const auto rows = std::min(block, length - begin);
    const auto key_begin = std::max<std::int64_t>(0, begin - window + 1);
    const auto keys = begin + rows - key_begin;
    parts.push_back(windowed(q.narrow(0, begin, rows), k.narrow(0, key_begin, keys), v.narrow(0, key_begin, keys),
                             begin, key_begin, rule));
  }
  return at::cat(parts);
}

/// Appends k and v to the cache, which grows as needed.
void append(LayerCache& cache, const at::Tensor& k, const at::Tensor& v) {
  const auto rows = k.size(0), past = cache.length;
  if (!cache.keys.defined() || past + rows > cache.keys.size(0)) {
    const auto capacity = std::max<std::int64_t>(256, 2 * (past + rows));
    auto keys = at::empty({capacity, k.size(1), k.size(2)}, k.options());
    auto values = at::empty({capacity, v.size(1), v.size(2)}, v.options());
    if (past > 0) {
      keys.narrow(0, 0, past).copy_(cache.keys.narrow(0, 0, past));
      values.narrow(0, 0, past).copy_(cache.values.narrow(0, 0, past));
    }
    cache.keys = keys;
    cache.values = values;
  }
  cache.keys.narrow(0, past, rows).copy_(k);
  cache.values.narrow(0, past, rows).copy_(v);
  cache.length = past + rows;
}

at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, LayerCache& cache,
                            const AttentionRule& rule) {
  const auto past = cache.length;
  append(cache, k, v);
  const bool wants_gradient = at::GradMode::is_enabled() && q.requires_grad();
  if (has_kernel(q) && !wants_gradient) return behind_cache(q, cache, rule);
  if (past == 0) return attend(q, k, v, rule);
  const auto first = rule.window > 0 ? std::max<std::int64_t>(0, past - rule.window + 1) : 0;
  const auto count = cache.length - first;
  return windowed(q, cache.keys.narrow(0, first, count), cache.values.narrow(0, first, count), past, first, rule);
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Batch& batch,
                     const AttentionRule& rule, LayerCache* cache) {
  if (cache != nullptr) return cached_attention(q, k, v, *cache, rule);
  if (has_kernel(q)) return RaggedAttention::apply(q, k, v, batch.offsets, rule);
  if (batch.count() == 1) return attend(q, k, v, rule);
  std::vector<at::Tensor> parts;
  for (std::int64_t s = 0; s < batch.count(); ++s) {
    const auto begin = batch.offsets[static_cast<std::size_t>(s)];
    const auto rows = batch.offsets[static_cast<std::size_t>(s) + 1] - begin;
    parts.push_back(attend(q.narrow(0, begin, rows), k.narrow(0, begin, rows), v.narrow(0, begin, rows), rule));
  }
  return at::cat(parts);
}

}  // namespace lorica::model
