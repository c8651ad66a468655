#include "model/parts/head.hpp"

#include <ATen/ATen.h>

#include "model/ops/cross_entropy.hpp"
#include "model/ops/linear_group.hpp"

namespace lorica::model {

Head::Head(const Architecture& architecture)
    : spec_(architecture.head),
      vocabulary_(architecture.vocabulary),
      hidden_size_(architecture.hidden_size),
      tied_(architecture.tied_embeddings),
      norm_(architecture.head.norm, architecture.hidden_size) {}

void Head::describe(std::vector<ParameterSpec>& parameters) const {
  norm_.describe(parameters);
  parameters.push_back({kHeadWeight, "", {vocabulary_, hidden_size_}, Role::head, tied_, 0});
}

/// With the multiplier of the logits, which costs less here.
Value Head::normalized(const at::Tensor& hidden, const BlockWeights& weights) const {
  auto x = norm_.forward(hidden, weights, {});
  if (spec_.logit_multiplier != 1) x.tensor = x.tensor * spec_.logit_multiplier;
  return x;
}

at::Tensor Head::forward(const at::Tensor& hidden, const BlockWeights& weights) const {
  const auto logits = base_linear(normalized(hidden, weights), weights.at(kHeadWeight), {}).to(at::kFloat);
  return spec_.softcap > 0 ? at::tanh(logits / spec_.softcap) * spec_.softcap : logits;
}

at::Tensor Head::loss(const Predictions& predictions, const BlockWeights& weights, std::int64_t chunk_bytes) const {
  const auto& [rows, labels] = predictions;
  if (labels.size(0) == 0) return rows.sum().to(at::kFloat);
  return linear_cross_entropy(rows, weights.at(kHeadWeight), labels, chunk_bytes, spec_.softcap);
}

/// Rows without a label carry no loss: they are left out before the norm and the largest product of the model.
Head::Predictions Head::predictions(const at::Tensor& hidden, const at::Tensor& labels,
                                    const BlockWeights& weights) const {
  const auto rows = labels.ge(0).nonzero().squeeze(1);
  const auto chosen = rows.size(0) == hidden.size(0) ? hidden : hidden.index_select(0, rows);
  if (rows.size(0) == 0) return {chosen, rows};
  return {normalized(chosen, weights).tensor, labels.index_select(0, rows)};
}

}  // namespace lorica::model
