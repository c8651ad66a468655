// A decoder layer: attention and feed-forward, their norms, and how they are added to the stream.
#pragma once

#include "model/parts/attention.hpp"
#include "model/parts/mlp.hpp"
#include "model/parts/norm.hpp"

namespace lorica::model {

class Layer {
 public:
  Layer(const LayerSpec& spec, int64_t hidden_size, int64_t layer);

  void describe(std::vector<ParameterSpec>& parameters) const;
  /// hidden [T, hidden_size] -> [T, hidden_size].
  at::Tensor forward(const at::Tensor& hidden, const BlockWeights& weights, const Batch& batch, const Pass& pass) const;

  /// Beyond its input.
  Held held(const RunFacts& facts) const;
  /// Forward: its input not counted.
  Peaks peaks(const RunFacts& facts) const;
  const Attention& attention() const { return attention_; }

 private:
  Branch enter(const std::optional<Norm>& norm, const at::Tensor& x, const at::Tensor& change,
               const BlockWeights& weights, const Pass& pass) const;
  at::Tensor leave(const std::optional<Norm>& norm, at::Tensor change, const BlockWeights& weights,
                   const Pass& pass) const;

  LayerSpec spec_;
  int64_t hidden_size_;
  Attention attention_;
  Mlp mlp_;
  std::optional<Norm> before_attention_, after_attention_, before_mlp_, after_mlp_;
};

}  // namespace lorica::model
