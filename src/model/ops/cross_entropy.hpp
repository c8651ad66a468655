// The output layer and its loss in one operation that never holds all logits.
#pragma once

#include "model/weights.hpp"

namespace lorica::model {

/// Σ_t −log softmax(h_t Wᵀ)[labels_t], a float32 scalar. hidden [T, hidden_size]; labels int64 [T], every one a valid
/// class (rows without loss are left out by the caller). Logits live for a few rows at a time in at most `chunk_bytes`
/// bytes of scratch, in float32; where gradients are wanted, they are made in the same pass, so that no product is done
/// twice. Gradients flow to hidden, and to the weight if it is trained. `softcap` c > 0: logits x become c · tanh(x /
/// c) before the softmax.
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const Weight& weight, const at::Tensor& labels,
                                std::int64_t chunk_bytes, double softcap = 0);

}  // namespace lorica::model
