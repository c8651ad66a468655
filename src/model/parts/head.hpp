// Final norm, output layer, and the loss.
#pragma once

#include "model/architecture.hpp"
#include "model/parts/norm.hpp"

namespace lorica::model {

class Head {
 public:
  explicit Head(const Architecture& architecture);

  void describe(std::vector<ParameterSpec>& parameters) const;
  /// hidden [T, hidden_size] -> logits [T, vocabulary] in float32.
  at::Tensor forward(const at::Tensor& hidden, const BlockWeights& weights) const;
  /// What predicts something: the rows whose label is not data::kIgnoreLabel, normalized [P, hidden], and these labels.
  struct Predictions {
    at::Tensor rows, labels;
  };
  /// labels int64 [T], already shifted.
  Predictions predictions(const at::Tensor& hidden, const at::Tensor& labels, const BlockWeights& weights) const;
  /// Their summed cross entropy. Without any: zero.
  at::Tensor loss(const Predictions& predictions, const BlockWeights& weights, std::int64_t chunk_bytes) const;

 private:
  Value normalized(const at::Tensor& hidden, const BlockWeights& weights) const;

  HeadSpec spec_;
  int64_t vocabulary_, hidden_size_;
  bool tied_;
  Norm norm_;
};

}  // namespace lorica::model
