#include "engine/plan/activations.hpp"

#include <algorithm>

#include "model/layer_costs.hpp"

namespace lorica::engine {
namespace {

using config::Recompute;

/// What of a run the layer's parts ask for.
model::RunFacts facts_of(const ModelShape& model, const BlockShape& block, const BatchShape& batch, Recompute policy) {
  model::RunFacts facts;
  facts.selective = policy == Recompute::selective;
  facts.dropout = batch.dropout > 0 && !model.full;
  facts.joins_sequences = !model.ragged_attention && batch.sequences > 1;
  facts.keeps_input = [&block](const std::string& module) { return block.kept_inputs.contains(module); };
  return facts;
}

}  // namespace

LayerMemory layer_memory(const ModelShape& model, const BlockShape& block, const BatchShape& batch, Recompute policy) {
  const auto facts = facts_of(model, block, batch, policy);
  const auto costs = model::layer_costs(model.architecture, block.layer, facts);
  const auto& widths = model.widths;
  auto numbers = costs.held.compute;
  for (const auto& [module, rank] : block.kept_inputs) numbers += rank;
  const auto graph = numbers * widths.compute + costs.held.wide * (facts.selective ? widths.wide : widths.compute) +
                     costs.held.float32 * 4;
  const auto width = widths.compute * batch.tokens;
  const auto dense = block.largest_dense * widths.compute;
  LayerMemory memory;
  memory.input = static_cast<std::uint64_t>(model.architecture.hidden_size) * width;
  (policy == Recompute::recompute ? memory.rebuilt : memory.kept) = graph * batch.tokens;
  memory.forward = costs.peaks.forward * width + dense;
  memory.backward = costs.peaks.backward * width + dense;
  return memory;
}

std::uint64_t loss_memory(const ModelShape& model, const BatchShape& batch, std::uint64_t logits_bytes) {
  const auto& a = model.architecture;
  const auto hidden = static_cast<std::uint64_t>(a.hidden_size), vocabulary = static_cast<std::uint64_t>(a.vocabulary);
  const auto& widths = model.widths;
  const bool converts = !widths.products_in_place && widths.stored != widths.compute;
  const bool capped = a.head.softcap > 0;  // slopes beside the logits
  const auto budget = (widths.products_in_place ? logits_bytes
                       : converts               ? logits_bytes / 4
                                                : logits_bytes / 2) /
                      (capped ? 2 : 1);
  const auto rows = std::clamp<std::uint64_t>(budget / (vocabulary * 4), 1, std::max<std::uint64_t>(batch.tokens, 1));
  auto scratch = rows * vocabulary * (capped ? 8 : 4);
  if (converts) scratch += std::min(logits_bytes / 2, vocabulary * hidden * 4) * widths.compute / 4;
  if (widths.compute != 4) scratch += rows * vocabulary * widths.compute;
  // The rows with a label, normed, and their gradient.
  return scratch + 3 * batch.tokens * hidden * widths.compute;
}

std::uint64_t head_gradient_memory(const ModelShape& model) {
  const auto& head = model.blocks.back();
  const auto& embedding = model.blocks.front();
  if (!(model.architecture.tied_embeddings ? embedding : head).trains()) return 0;
  const auto elements = static_cast<std::uint64_t>(model.architecture.vocabulary) *
                        static_cast<std::uint64_t>(model.architecture.hidden_size);
  const auto sum = elements * 4;
  const auto product = model.widths.compute == 4 ? 0 : elements * model.widths.compute;
  const auto rounded = model.widths.stored == 4 ? 0 : elements * model.widths.stored;
  return sum + std::max(product, rounded);
}

std::uint64_t batch_memory(const ModelShape& model, const BatchShape& batch) {
  std::uint64_t rotary = 0;  // cos and sin of half a head each
  for (const auto& rope : model.architecture.ropes) rotary += static_cast<std::uint64_t>(rope.head_dim) * 4;
  return batch.tokens * (rotary + 40);
}

}  // namespace lorica::engine
