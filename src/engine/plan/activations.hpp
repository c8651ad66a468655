// Bytes that the operations of model/ hold for a number of tokens: counted from model/block.cpp and model/ops.
#pragma once

#include "engine/plan/model_shape.hpp"

namespace lorica::engine {

struct LayerMemory {
  std::uint64_t input = 0;     ///< what enters the layer
  std::uint64_t kept = 0;      ///< beyond it, between forward and backward
  std::uint64_t forward = 0;   ///< beyond the input, while the layer runs forward and keeps nothing
  std::uint64_t backward = 0;  ///< beyond input and kept, at the peak of the layer's backward: gradients of activations
  std::uint64_t rebuilt = 0;   ///< what backward makes anew first
};

struct BatchShape {
  std::uint64_t tokens = 0;
  std::uint64_t sequences = 1;
  double dropout = 0;
};

/// One decoder layer under `policy` (keep, recompute or selective).
LayerMemory layer_memory(const ModelShape& model, const BlockShape& block, const BatchShape& batch,
                         config::Recompute policy);

/// The head: its loss and the gradient of its input, beyond the input and what is trained.
std::uint64_t loss_memory(const ModelShape& model, const BatchShape& batch, std::uint64_t logits_bytes);

/// The gradient of a trained head on its way: summed in float32, then rounded.
std::uint64_t head_gradient_memory(const ModelShape& model);

/// Token ids, positions and rotary tables of one micro-batch.
std::uint64_t batch_memory(const ModelShape& model, const BatchShape& batch);

}  // namespace lorica::engine
