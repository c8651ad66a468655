#include "model/ops/attention.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

namespace lorica::model {
namespace {

/// [rows, heads, dim] -> [1, heads, rows, dim], a view.
at::Tensor by_head(const at::Tensor& x) {
  return x.transpose(0, 1).unsqueeze(0);
}

/// [1, heads, rows, dim] -> [rows, heads · dim].
at::Tensor by_row(const at::Tensor& x) {
  return x.squeeze(0).transpose(0, 1).reshape({x.size(2), x.size(1) * x.size(3)});
}

/// Query rows that stand at `first` … of keys that stand at `key_first` …, masked to the causal window.
at::Tensor windowed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t first,
                    std::int64_t key_first, std::int64_t window) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(q.device());
  const auto rows = at::arange(first, first + q.size(0), options).unsqueeze(1);
  const auto columns = at::arange(key_first, key_first + k.size(0), options).unsqueeze(0);
  auto mask = columns.le(rows);
  if (window > 0) mask = mask.logical_and(columns.gt(rows - window));
  const bool grouped = q.size(1) != k.size(1);
  return by_row(
      at::scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), mask, 0.0, false, std::nullopt, grouped));
}

/// One sequence.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t window) {
  const auto length = q.size(0);
  if (window <= 0 || length <= window) {
    const bool grouped = q.size(1) != k.size(1);
    return by_row(
        at::scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), {}, 0.0, true, std::nullopt, grouped));
  }
  // Blocks of queries, each against only the keys that its window reaches: memory stays linear in the length.
  const std::int64_t block = std::max<std::int64_t>(64, std::min<std::int64_t>(window, 512));
  std::vector<at::Tensor> parts;
  for (std::int64_t begin = 0; begin < length; begin += block) {
    const auto rows = std::min(block, length - begin);
    const auto key_begin = std::max<std::int64_t>(0, begin - window + 1);
    const auto keys = begin + rows - key_begin;
    parts.push_back(windowed(q.narrow(0, begin, rows), k.narrow(0, key_begin, keys), v.narrow(0, key_begin, keys),
                             begin, key_begin, window));
  }
  return at::cat(parts);
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Sequences& sequences,
                     std::int64_t window) {
  if (sequences.count() == 1) return attend(q, k, v, window);
  std::vector<at::Tensor> parts;
  for (std::int64_t s = 0; s < sequences.count(); ++s) {
    const auto begin = sequences.offsets[static_cast<std::size_t>(s)];
    const auto rows = sequences.offsets[static_cast<std::size_t>(s) + 1] - begin;
    parts.push_back(attend(q.narrow(0, begin, rows), k.narrow(0, begin, rows), v.narrow(0, begin, rows), window));
  }
  return at::cat(parts);
}

at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, LayerCache& cache,
                            std::int64_t window) {
  const auto rows = q.size(0), past = cache.length;
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
  if (past == 0) return attend(q, k, v, window);
  const auto first = window > 0 ? std::max<std::int64_t>(0, past - window + 1) : 0;
  const auto count = cache.length - first;
  return windowed(q, cache.keys.narrow(0, first, count), cache.values.narrow(0, first, count), past, first, window);
}

}  // namespace lorica::model
