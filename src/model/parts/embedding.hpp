// Token ids to hidden states.
#pragma once

#include "model/architecture.hpp"
#include "model/weights.hpp"

namespace lorica::model {

class Embedding {
 public:
  explicit Embedding(const Architecture& architecture)
      : spec_(architecture.embedding), vocabulary_(architecture.vocabulary), hidden_size_(architecture.hidden_size) {}

  void describe(std::vector<ParameterSpec>& parameters) const;
  /// ids int64 [T] -> hidden [T, hidden_size] in `dtype`.
  at::Tensor forward(const at::Tensor& ids, const BlockWeights& weights, at::ScalarType dtype) const;
  /// The gradient of the table's rows that made `hidden`, from that of `hidden` [T, hidden_size], in the dtype of the
  /// table.
  at::Tensor row_gradients(const at::Tensor& gradient, at::ScalarType table) const;

 private:
  double multiplier(at::ScalarType table) const;

  EmbeddingSpec spec_;
  int64_t vocabulary_, hidden_size_;
};

}  // namespace lorica::model
