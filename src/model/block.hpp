// The blocks of a model: embedding, decoder layers, head. A block maps an Activation to an Activation with the weights
// that it is handed, and knows nothing of where they live, what is kept for backward, or which process it runs in.
#pragma once

#include <memory>
#include <vector>

#include "model/architecture.hpp"
#include "model/weights.hpp"

namespace lorica::model {

class Block {
 public:
  explicit Block(BlockSpec spec) : spec_(std::move(spec)) {}
  virtual ~Block() = default;
  const BlockSpec& spec() const { return spec_; }
  /// Decoder layer: hidden states to hidden states, [T, hidden_size]. Head: to logits, [T, vocabulary].
  virtual Activation forward(const Activation& in, const BlockWeights& weights) const = 0;

 private:
  BlockSpec spec_;
};

/// Token ids to hidden states.
class EmbeddingBlock : public Block {
 public:
  using Block::Block;
  /// Not for the embedding: its input is ids.
  Activation forward(const Activation& in, const BlockWeights& weights) const override;
  /// ids int64 [T] -> hidden [T, hidden_size] in `dtype`.
  Activation embed(const at::Tensor& ids, std::shared_ptr<const Sequences> sequences, const BlockWeights& weights,
                   at::ScalarType dtype) const;
};

/// x + attention(norm(x)), then x + mlp(norm(x)): Llama, Mistral, Qwen2, Qwen3.
class DecoderBlock : public Block {
 public:
  DecoderBlock(BlockSpec spec, const Architecture& architecture)
      : Block(std::move(spec)), architecture_(architecture) {}
  Activation forward(const Activation& in, const BlockWeights& weights) const override;

 private:
  at::Tensor attend(const Value& x, const BlockWeights& weights, const Sequences& sequences) const;
  at::Tensor feed_forward(const Value& x, const BlockWeights& weights, const Sequences& sequences) const;
  Architecture architecture_;
};

/// Final norm, output layer, and the loss.
class HeadBlock : public Block {
 public:
  HeadBlock(BlockSpec spec, const Architecture& architecture)
      : Block(std::move(spec)), eps_(architecture.rms_norm_eps) {}
  /// Logits [T, vocabulary] in float32.
  Activation forward(const Activation& in, const BlockWeights& weights) const override;
  /// What predicts something: the rows whose label is not data::kIgnoreLabel, normalized [P, hidden], and these labels.
  struct Predictions {
    at::Tensor rows, labels;
  };
  /// labels int64 [T], already shifted.
  Predictions predictions(const Activation& in, const at::Tensor& labels, const BlockWeights& weights) const;
  /// Their summed cross entropy. Without any: zero.
  at::Tensor loss(const Predictions& predictions, const BlockWeights& weights, std::int64_t chunk_bytes) const;

 private:
  double eps_;
};

/// A model's blocks in order: one embedding, the decoder layers, one head.
std::vector<std::unique_ptr<Block>> make_blocks(const Architecture& architecture);

}  // namespace lorica::model
