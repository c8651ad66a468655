#include "engine/plan/activations.hpp"

#include <algorithm>

namespace lorica::engine {
namespace {

using config::Recompute;

/// Numbers a token.
struct Sizes {
  explicit Sizes(const model::Architecture& a)
      : hidden(static_cast<std::uint64_t>(a.hidden_size)),
        query(static_cast<std::uint64_t>(a.query_size())),
        key(static_cast<std::uint64_t>(a.kv_size())),
        wide(static_cast<std::uint64_t>(a.intermediate_size)) {}
  std::uint64_t hidden, query, key, wide;
};

bool keeps_input(const BlockShape& block, std::initializer_list<const char*> modules) {
  return std::any_of(modules.begin(), modules.end(),
                     [&](const char* module) { return block.kept_inputs.contains(module); });
}

/// What autograd and our own functions hold of one layer beyond its input, bytes a token.
std::uint64_t graph_bytes(const ModelShape& model, const BlockShape& block, const BatchShape& batch, bool selective) {
  const Sizes n(model.architecture);
  // Attention holds q, k, v and its output; where it takes one sequence at a time, they are put together into one more.
  std::uint64_t numbers = 2 * n.query + 2 * n.key;
  if (!model.ragged_attention && batch.sequences > 1 && keeps_input(block, {"self_attn.o_proj"})) numbers += n.query;
  if (model.architecture.qk_norm) numbers += n.query + n.key;
  numbers += n.hidden;  // between attention and feed-forward
  if (!selective) {
    if (keeps_input(block, {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"})) numbers += n.hidden;
    if (keeps_input(block, {"mlp.gate_proj", "mlp.up_proj"})) numbers += n.hidden;
    if (keeps_input(block, {"mlp.down_proj"})) numbers += n.wide;
  }
  for (const auto& [module, rank] : block.kept_inputs) numbers += rank;
  const auto& widths = model.widths;
  return numbers * widths.compute + 2 * n.wide * (selective ? widths.wide : widths.compute);  // gate and up
}

}  // namespace

LayerMemory layer_memory(const ModelShape& model, const BlockShape& block, const BatchShape& batch, Recompute policy) {
  const Sizes n(model.architecture);
  const auto width = model.widths.compute * batch.tokens;
  const auto softmax = batch.tokens * static_cast<std::uint64_t>(model.architecture.heads) * 4;
  const bool dropout = batch.dropout > 0 && !model.full;
  const auto dense = block.largest_dense * model.widths.compute;
  LayerMemory memory;
  memory.input = n.hidden * width;
  const bool selective = policy == Recompute::selective;
  const auto graph = graph_bytes(model, block, batch, selective) * batch.tokens + softmax;
  (policy == Recompute::recompute ? memory.rebuilt : memory.kept) = graph;
  // Feed-forward holds its input, the normed one, gate, up, their product and the result; the sum is one more.
  memory.forward = (4 * n.hidden + (dropout ? 4 : 3) * n.wide) * width + dense;
  // The gradient of the output, of the product, of gate and up. Adapters with dropout need two more of the product's.
  const std::uint64_t product = dropout ? 3 : 1;
  memory.backward = (n.hidden + std::max<std::uint64_t>(3, product + (selective ? 1 : 0)) * n.wide) * width + dense;
  return memory;
}

std::uint64_t loss_memory(const ModelShape& model, const BatchShape& batch, std::uint64_t logits_bytes) {
  const auto& a = model.architecture;
  const auto hidden = static_cast<std::uint64_t>(a.hidden_size), vocabulary = static_cast<std::uint64_t>(a.vocabulary);
  const auto& widths = model.widths;
  const bool converts = !widths.products_in_place && widths.stored != widths.compute;
  const auto budget = widths.products_in_place ? logits_bytes : converts ? logits_bytes / 4 : logits_bytes / 2;
  const auto rows = std::clamp<std::uint64_t>(budget / (vocabulary * 4), 1, std::max<std::uint64_t>(batch.tokens, 1));
  auto scratch = rows * vocabulary * 4;
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
  return batch.tokens * (static_cast<std::uint64_t>(model.architecture.head_dim) * 4 + 40);
}

}  // namespace lorica::engine
