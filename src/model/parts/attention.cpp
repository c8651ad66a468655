#include "model/parts/attention.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/ops/attention.hpp"
#include "model/parts/linear.hpp"

namespace lorica::model {
namespace {

/// `heads`: how many there are.
std::optional<Norm> norm_of_heads(const std::optional<NormSpec>& spec, const AttentionSpec& attention, int64_t heads) {
  if (!spec) return std::nullopt;
  return Norm(*spec, attention.head_dim * (attention.norms_all_heads ? heads : 1), attention.name + ".");
}

}  // namespace

Attention::Attention(const AttentionSpec& spec, int64_t hidden_size, int64_t layer)
    : spec_(spec),
      hidden_size_(hidden_size),
      layer_(layer),
      inputs_(modules_in(spec.name, spec.inputs)),
      output_(spec.name + "." + spec.output),
      query_norm_(norm_of_heads(spec.query_norm, spec, spec.heads)),
      key_norm_(norm_of_heads(spec.key_norm, spec, spec.kv_heads)) {}

void Attention::describe(std::vector<ParameterSpec>& parameters) const {
  const auto query = spec_.query_size(), key = spec_.kv_size();
  if (spec_.fused()) {
    describe_linear(parameters, inputs_[0], query + 2 * key, hidden_size_, spec_.input_bias);
  } else {
    describe_linear(parameters, inputs_[0], query, hidden_size_, spec_.input_bias);
    describe_linear(parameters, inputs_[1], key, hidden_size_, spec_.input_bias);
    describe_linear(parameters, inputs_[2], key, hidden_size_, spec_.input_bias);
  }
  if (query_norm_) query_norm_->describe(parameters);
  if (key_norm_) key_norm_->describe(parameters);
  describe_linear(parameters, output_, hidden_size_, query, spec_.output_bias);
}

at::Tensor Attention::forward(const Value& x, const BlockWeights& weights, const Batch& batch, const Pass& pass) const {
  auto projected = weights.linears(inputs_, x, pass);
  if (spec_.fused())
    projected = projected[0].split_with_sizes({spec_.query_size(), spec_.kv_size(), spec_.kv_size()}, 1);
  const auto by_head = [&](const at::Tensor& each) { return each.reshape({x.tensor.size(0), -1, spec_.head_dim}); };
  const auto normed = [&](const at::Tensor& each, const std::optional<Norm>& norm) {
    if (!norm) return by_head(each);
    if (spec_.norms_all_heads) return by_head(norm->forward(each, weights, {}).tensor);
    return norm->forward(by_head(each), weights, {}).tensor;
  };
  auto q = normed(projected[0], query_norm_), k = normed(projected[1], key_norm_), v = by_head(projected[2]);
  // A slice would hold all of the product until backward.
  if (spec_.fused()) v = v.contiguous();
  projected.clear();
  if (spec_.rope != AttentionSpec::kNoRope) {
    const auto& table = batch.ropes.at(static_cast<std::size_t>(spec_.rope));
    q = rotary(q, table.cosine, table.sine, spec_.interleaved);
    k = rotary(k, table.cosine, table.sine, spec_.interleaved);
  }
  const auto mixed = attention(q, k, v, batch, {spec_.window, spec_.scale, spec_.softcap}, pass.cache_of(layer_));
  return weights.linear(output_, {mixed, {}}, pass);
}

Held Attention::held(const RunFacts& facts) const {
  const auto query = static_cast<std::uint64_t>(spec_.query_size()), key = static_cast<std::uint64_t>(spec_.kv_size());
  Held held;
  // q, k, v and the output; where it takes one sequence at a time, they are put together into one more.
  held.compute = 2 * query + 2 * key;
  if (facts.joins_sequences && facts.keeps_input(output_)) held.compute += query;
  if (query_norm_) held.compute += query;
  if (key_norm_) held.compute += key;
  const bool keeps = std::any_of(inputs_.begin(), inputs_.end(), facts.keeps_input);
  if (!facts.selective && keeps) held.compute += static_cast<std::uint64_t>(hidden_size_);
  held.float32 = static_cast<std::uint64_t>(spec_.heads);  // the softmax's sums
  return held;
}

double Attention::pairs(double length) const {
  const double all = length * (length + 1) / 2, window = static_cast<double>(spec_.window);
  if (window <= 0 || length <= window) return all;
  const double hidden = length - window;
  return all - hidden * (hidden + 1) / 2;
}

}  // namespace lorica::model
