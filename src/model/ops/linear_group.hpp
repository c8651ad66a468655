// Linear layers that read the same input, forward and backward in one autograd node.
#pragma once

#include <optional>
#include <vector>

#include "model/weights.hpp"

namespace lorica::model {

struct LinearMember {
  Weight weight;                    ///< W [out, in]
  at::Tensor bias;                  ///< [out], or undefined
  std::optional<LowRank> low_rank;  ///< what an adapter adds
};

/// y_j = x W_jᵀ + bias_j + s_j · B_j A_j dropout_j(x) for each member: x [T, in] -> [T, out_j], in x's dtype.
/// Gradients flow to x, and to weights, biases and low-rank terms where they are trained. Kept for backward: the
/// weights as they are stored, r numbers a token of each low-rank term, and x as x.kept() says if anything is trained
/// here.
std::vector<at::Tensor> linear_group(const Value& x, const std::vector<LinearMember>& members);

/// One layer without an adapter.
at::Tensor base_linear(const Value& x, const Weight& weight, const at::Tensor& bias);

}  // namespace lorica::model
