#include "model/parts/embedding.hpp"

#include <ATen/ATen.h>

namespace lorica::model {

void Embedding::describe(std::vector<ParameterSpec>& parameters) const {
  parameters.push_back({kEmbeddingWeight, "", {vocabulary_, hidden_size_}, Role::embedding, false, 0});
}

/// Rounded to the table's dtype, as transformers keeps it beside the table.
double Embedding::multiplier(at::ScalarType table) const {
  return at::scalar_tensor(spec_.multiplier, table).item<double>();
}

at::Tensor Embedding::forward(const at::Tensor& ids, const BlockWeights& weights, at::ScalarType dtype) const {
  const auto table = weights.tensor(kEmbeddingWeight);
  auto hidden = at::embedding(table, ids).to(dtype);
  return spec_.multiplier == 1 ? hidden : hidden * multiplier(table.scalar_type());
}

at::Tensor Embedding::row_gradients(const at::Tensor& gradient, at::ScalarType table) const {
  return (spec_.multiplier == 1 ? gradient : gradient * multiplier(table)).to(table);
}

}  // namespace lorica::model
