#include "model/parts/layer.hpp"

#include <ATen/ATen.h>

namespace lorica::model {
namespace {

std::optional<Norm> norm_of(const std::optional<NormSpec>& spec, int64_t size) {
  if (!spec) return std::nullopt;
  return Norm(*spec, size);
}

}  // namespace

Layer::Layer(const LayerSpec& spec, int64_t hidden_size, int64_t layer)
    : spec_(spec),
      hidden_size_(hidden_size),
      attention_(spec.attention, hidden_size, layer),
      mlp_(spec.mlp, hidden_size),
      before_attention_(norm_of(spec.before_attention, hidden_size)),
      after_attention_(norm_of(spec.after_attention, hidden_size)),
      before_mlp_(norm_of(spec.before_mlp, hidden_size)),
      after_mlp_(norm_of(spec.after_mlp, hidden_size)) {}

void Layer::describe(std::vector<ParameterSpec>& parameters) const {
  const auto add = [&](const std::optional<Norm>& norm) {
    if (norm) norm->describe(parameters);
  };
  add(before_attention_);
  attention_.describe(parameters);
  add(after_attention_);
  add(before_mlp_);
  mlp_.describe(parameters);
  add(after_mlp_);
}

/// The stream with what was added to it, and what the next part reads.
Branch Layer::enter(const std::optional<Norm>& norm, const at::Tensor& x, const at::Tensor& change,
                    const BlockWeights& weights, const Pass& pass) const {
  if (norm) return norm->add(x, change, weights, pass.keeping);
  const auto stream = change.defined() ? residual_sum(x, change) : x;
  return {stream, {stream, {}}};
}

/// What a part adds to the stream.
at::Tensor Layer::leave(const std::optional<Norm>& norm, at::Tensor change, const BlockWeights& weights,
                        const Pass& pass) const {
  if (norm) change = norm->forward(change, weights, pass.keeping).tensor;
  return spec_.residual_multiplier == 1 ? change : change * spec_.residual_multiplier;
}

at::Tensor Layer::forward(const at::Tensor& hidden, const BlockWeights& weights, const Batch& batch,
                          const Pass& pass) const {
  const auto start = enter(before_attention_, hidden, {}, weights, pass);
  auto change = leave(after_attention_, attention_.forward(start.normalized, weights, batch, pass), weights, pass);
  if (spec_.arrangement == Arrangement::parallel) {
    change = residual_sum(change, leave(after_mlp_, mlp_.forward(start.normalized, weights, pass), weights, pass));
    return residual_sum(start.stream, change);
  }
  const auto middle = enter(before_mlp_, start.stream, change, weights, pass);
  change.reset();
  return residual_sum(middle.stream, leave(after_mlp_, mlp_.forward(middle.normalized, weights, pass), weights, pass));
}

Held Layer::held(const RunFacts& facts) const {
  const auto hidden = static_cast<std::uint64_t>(hidden_size_);
  Held held = attention_.held(facts);
  held += mlp_.held(facts);
  if (spec_.arrangement == Arrangement::sequential) held.compute += hidden;  // between attention and feed-forward
  for (const auto* norm : {&after_attention_, &after_mlp_}) {
    if (*norm) held.compute += hidden;  // what it normalizes
  }
  return held;
}

Peaks Layer::peaks(const RunFacts& facts) const {
  const auto hidden = static_cast<std::uint64_t>(hidden_size_);
  auto peaks = mlp_.peaks(facts);
  // Feed-forward holds its input, the normed one and the result; the sum is one more. The gradient of the output.
  peaks.forward += 4 * hidden;
  peaks.backward += hidden;
  if (after_mlp_) peaks.forward += hidden, peaks.backward += hidden;
  return peaks;
}

}  // namespace lorica::model
