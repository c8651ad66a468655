#include "model/block.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"

namespace lorica::model {

at::Tensor EmbeddingBlock::forward(const at::Tensor&, const BlockWeights&, const Batch&, const Pass&) const {
  throw Error("internal error: an embedding block takes token ids");
}

DecoderBlock::DecoderBlock(BlockSpec spec, const Architecture& architecture)
    : Block(std::move(spec)),
      part_(architecture.layers.at(static_cast<std::size_t>(this->spec().layer)), architecture.hidden_size,
            this->spec().layer) {}

at::Tensor DecoderBlock::forward(const at::Tensor& hidden, const BlockWeights& weights, const Batch& batch,
                                 const Pass& pass) const {
  return part_.forward(hidden, weights, batch, pass);
}

at::Tensor HeadBlock::forward(const at::Tensor& hidden, const BlockWeights& weights, const Batch&, const Pass&) const {
  return part_.forward(hidden, weights);
}

std::vector<std::unique_ptr<Block>> make_blocks(const Architecture& architecture) {
  std::vector<std::unique_ptr<Block>> blocks;
  for (auto& spec : describe_blocks(architecture)) {
    switch (spec.kind) {
      case BlockSpec::Kind::embedding:
        blocks.push_back(std::make_unique<EmbeddingBlock>(std::move(spec), architecture));
        break;
      case BlockSpec::Kind::decoder:
        blocks.push_back(std::make_unique<DecoderBlock>(std::move(spec), architecture));
        break;
      case BlockSpec::Kind::head:
        blocks.push_back(std::make_unique<HeadBlock>(std::move(spec), architecture));
        break;
    }
  }
  return blocks;
}

}  // namespace lorica::model
