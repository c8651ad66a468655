#include "model/block.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"
#include "model/ops/attention.hpp"
#include "model/ops/cross_entropy.hpp"
#include "model/ops/elementwise.hpp"
#include "model/ops/linear_group.hpp"

namespace lorica::model {

Activation EmbeddingBlock::forward(const Activation&, const BlockWeights&) const {
  throw Error("internal error: an embedding block takes token ids");
}

Activation EmbeddingBlock::embed(const at::Tensor& ids, std::shared_ptr<const Sequences> sequences,
                                 const BlockWeights& weights, at::ScalarType dtype) const {
  return {at::embedding(weights.tensor("embed_tokens.weight"), ids).to(dtype), std::move(sequences)};
}

Activation DecoderBlock::forward(const Activation& in, const BlockWeights& weights) const {
  const auto branch = [&](const at::Tensor& x, const at::Tensor& change, const char* norm) {
    return add_rms_norm(x, change, weights.tensor(norm), architecture_.rms_norm_eps, in.sequences->selective);
  };
  const auto start = branch(in.hidden, {}, "input_layernorm.weight");
  const auto middle =
      branch(start.stream, attend(start.normalized, weights, *in.sequences), "post_attention_layernorm.weight");
  return {residual_sum(middle.stream, feed_forward(middle.normalized, weights, *in.sequences)), in.sequences};
}

at::Tensor DecoderBlock::attend(const Value& x, const BlockWeights& weights, const Sequences& sequences) const {
  const auto& arch = architecture_;
  auto projected = weights.linears({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, x, sequences);
  for (auto& each : projected) each = each.reshape({x.tensor.size(0), -1, arch.head_dim});
  auto q = projected[0], k = projected[1];
  const auto v = projected[2];
  if (arch.qk_norm) {
    q = rms_norm(q, weights.tensor("self_attn.q_norm.weight"), arch.rms_norm_eps, false).tensor;
    k = rms_norm(k, weights.tensor("self_attn.k_norm.weight"), arch.rms_norm_eps, false).tensor;
  }
  q = rotary(q, sequences.cosine, sequences.sine);
  k = rotary(k, sequences.cosine, sequences.sine);
  const auto layer = static_cast<std::size_t>(spec().layer);
  const auto window = arch.sliding_window[layer];
  const auto mixed = sequences.cache != nullptr ? cached_attention(q, k, v, sequences.cache->at(layer), window)
                                                : attention(q, k, v, sequences, window);
  return weights.linear("self_attn.o_proj", {mixed, {}}, sequences);
}

at::Tensor DecoderBlock::feed_forward(const Value& x, const BlockWeights& weights, const Sequences& sequences) const {
  const auto wide = weights.linears({"mlp.gate_proj", "mlp.up_proj"}, x, sequences);
  return weights.linear("mlp.down_proj", swiglu(wide[0], wide[1], sequences.selective, sequences.narrow), sequences);
}

Activation HeadBlock::forward(const Activation& in, const BlockWeights& weights) const {
  const auto x = rms_norm(in.hidden, weights.tensor("norm.weight"), eps_, false);
  return {base_linear(x, weights.at("lm_head.weight"), {}).to(at::kFloat), in.sequences};
}

at::Tensor HeadBlock::loss(const Predictions& predictions, const BlockWeights& weights,
                           std::int64_t chunk_bytes) const {
  const auto& [rows, labels] = predictions;
  if (labels.size(0) == 0) return rows.sum().to(at::kFloat);
  return linear_cross_entropy(rows, weights.at("lm_head.weight"), labels, chunk_bytes);
}

/// Rows without a label carry no loss: they are left out before the norm and the largest product of the model.
HeadBlock::Predictions HeadBlock::predictions(const Activation& in, const at::Tensor& labels,
                                              const BlockWeights& weights) const {
  const auto rows = labels.ge(0).nonzero().squeeze(1);
  const auto hidden = rows.size(0) == in.hidden.size(0) ? in.hidden : in.hidden.index_select(0, rows);
  if (rows.size(0) == 0) return {hidden, rows};
  return {rms_norm(hidden, weights.tensor("norm.weight"), eps_, false).tensor, labels.index_select(0, rows)};
}

std::vector<std::unique_ptr<Block>> make_blocks(const Architecture& architecture) {
  std::vector<std::unique_ptr<Block>> blocks;
  for (auto& spec : describe_blocks(architecture)) {
    switch (spec.kind) {
      case BlockSpec::Kind::embedding:
        blocks.push_back(std::make_unique<EmbeddingBlock>(std::move(spec)));
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
