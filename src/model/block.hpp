// The blocks of a model: embedding, decoder layers, head. A block maps hidden states to hidden states with the weights
// that it is handed, and knows nothing of where they live, what is kept for backward, or which process it runs in.
#pragma once

#include <memory>
#include <vector>

#include "model/parts/embedding.hpp"
#include "model/parts/head.hpp"
#include "model/parts/layer.hpp"

namespace lorica::model {

class Block {
 public:
  explicit Block(BlockSpec spec) : spec_(std::move(spec)) {}
  virtual ~Block() = default;
  const BlockSpec& spec() const { return spec_; }
  /// hidden [T, hidden_size]. Decoder layer: to hidden states, [T, hidden_size]. Head: to logits, [T, vocabulary].
  virtual at::Tensor forward(const at::Tensor& hidden, const BlockWeights& weights, const Batch& batch,
                             const Pass& pass) const = 0;

 private:
  BlockSpec spec_;
};

class EmbeddingBlock : public Block {
 public:
  EmbeddingBlock(BlockSpec spec, const Architecture& architecture) : Block(std::move(spec)), part_(architecture) {}
  /// Not for the embedding: its input is ids.
  at::Tensor forward(const at::Tensor& hidden, const BlockWeights& weights, const Batch& batch,
                     const Pass& pass) const override;
  const Embedding& part() const { return part_; }

 private:
  Embedding part_;
};

class DecoderBlock : public Block {
 public:
  DecoderBlock(BlockSpec spec, const Architecture& architecture);
  at::Tensor forward(const at::Tensor& hidden, const BlockWeights& weights, const Batch& batch,
                     const Pass& pass) const override;

 private:
  Layer part_;
};

class HeadBlock : public Block {
 public:
  HeadBlock(BlockSpec spec, const Architecture& architecture) : Block(std::move(spec)), part_(architecture) {}
  at::Tensor forward(const at::Tensor& hidden, const BlockWeights& weights, const Batch& batch,
                     const Pass& pass) const override;
  const Head& part() const { return part_; }

 private:
  Head part_;
};

/// A model's blocks in order: one embedding, the decoder layers, one head.
std::vector<std::unique_ptr<Block>> make_blocks(const Architecture& architecture);

}  // namespace lorica::model
