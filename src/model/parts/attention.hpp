// Grouped-query attention: projections, q/k norm, rotary embedding, softmax, output projection.
#pragma once

#include "model/parts/costs.hpp"
#include "model/parts/norm.hpp"

namespace lorica::model {

class Attention {
 public:
  /// `layer`: whose cache it fills.
  Attention(const AttentionSpec& spec, int64_t hidden_size, int64_t layer);

  void describe(std::vector<ParameterSpec>& parameters) const;
  /// x, normalized, [T, hidden_size] -> [T, hidden_size].
  at::Tensor forward(const Value& x, const BlockWeights& weights, const Batch& batch, const Pass& pass) const;

  Held held(const RunFacts& facts) const;
  /// Multiplications and additions of forward for one pair of a query and a key that it sees, beside the projections.
  double flops_of_pair() const { return 4.0 * static_cast<double>(spec_.query_size()); }
  /// Pairs of a query and a key that it sees in a sequence.
  double pairs(double length) const;

 private:
  AttentionSpec spec_;
  int64_t hidden_size_, layer_;
  std::vector<std::string> inputs_;
  std::string output_;
  std::optional<Norm> query_norm_, key_norm_;
};

}  // namespace lorica::model
