#include "engine/torch/executor.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>

#include "base/error.hpp"

namespace lorica::engine {
namespace {

at::Tensor to_device(const std::vector<std::int32_t>& values, at::Device device) {
  auto tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<std::int64_t>());
  return tensor.to(device);
}

const model::HeadBlock& head_of(const Model& model) {
  return static_cast<const model::HeadBlock&>(*model.blocks.back());
}

/// cos and sin at each token's position. Types whose frequencies depend on the length take each sequence's own, so that
/// what else is in the batch changes nothing.
void fill_rotary(const Model& model, const std::vector<std::int32_t>& positions, model::Sequences& sequences) {
  const auto& arch = model.architecture;
  std::vector<at::Tensor> cosines, sines;
  const bool by_length = model::rope_depends_on_length(arch.rope);
  const auto table = [&](std::int64_t begin, std::int64_t end) {
    const auto longest = *std::max_element(positions.begin() + begin, positions.begin() + end);
    const auto rope = model::rope_frequencies(arch.rope, arch.head_dim, arch.max_positions, longest + 1);
    const auto frequencies = at::from_blob(const_cast<float*>(rope.inverse_frequencies.data()),
                                           {static_cast<std::int64_t>(rope.inverse_frequencies.size())}, at::kFloat);
    auto rows = at::empty({end - begin, 1}, at::kFloat);
    std::copy(positions.begin() + begin, positions.begin() + end, rows.data_ptr<float>());
    const auto angles = rows * frequencies.unsqueeze(0);
    cosines.push_back(angles.cos().mul_(rope.attention_scaling));
    sines.push_back(angles.sin().mul_(rope.attention_scaling));
  };
  if (by_length) {
    for (std::int64_t s = 0; s < sequences.count(); ++s) {
      table(sequences.offsets[static_cast<std::size_t>(s)], sequences.offsets[static_cast<std::size_t>(s) + 1]);
    }
  } else {
    table(0, sequences.tokens());
  }
  sequences.cosine = at::cat(cosines).to(model.device);
  sequences.sine = at::cat(sines).to(model.device);
}

std::shared_ptr<const model::DropoutRows> dropout_rows(const data::MicroBatch& batch, std::uint64_t seed,
                                                       std::int64_t step) {
  auto rows = std::make_shared<model::DropoutRows>();
  rows->seed = seed;
  rows->step = static_cast<std::uint64_t>(step);
  rows->positions.assign(batch.positions.begin(), batch.positions.end());
  rows->examples.reserve(batch.positions.size());
  for (std::size_t s = 0; s < batch.examples.size(); ++s) {
    rows->examples.insert(rows->examples.end(), static_cast<std::size_t>(batch.offsets[s + 1] - batch.offsets[s]),
                          batch.examples[s]);
  }
  return rows;
}

}  // namespace

/// What is held of a block between its forward and its backward.
struct Executor::Frame {
  model::Activation input;                     ///< hidden is a leaf that requires grad if the blocks before it want one
  at::Tensor output;                           ///< with its graph; undefined if it is to be recomputed
  std::optional<model::BlockWeights> weights;  ///< the leaves that the graph ends in
};

std::shared_ptr<model::Sequences> Executor::sequences_of(const data::MicroBatch& batch) const {
  auto sequences = std::make_shared<model::Sequences>();
  sequences->offsets.assign(batch.offsets.begin(), batch.offsets.end());
  fill_rotary(model_, batch.positions, *sequences);
  return sequences;
}

model::Activation Executor::embed(const data::MicroBatch& batch, std::shared_ptr<const model::Sequences> sequences) {
  const auto& block = static_cast<const model::EmbeddingBlock&>(*model_.blocks.front());
  const auto weights = model_.store->acquire(0);
  auto result = block.embed(to_device(batch.input_ids, model_.device), std::move(sequences), weights, model_.compute);
  model_.store->release(0);
  return result;
}

Executor::Frame Executor::run_block(std::size_t block, const model::Activation& in, bool input_needs_gradient) {
  Frame frame;
  frame.input = {in.hidden.detach(), in.sequences};
  const bool graph = input_needs_gradient || model_.store->trains(block);
  if (graph) frame.input.hidden.requires_grad_(input_needs_gradient);
  at::AutoGradMode mode(graph && options_.policy != ActivationPolicy::recompute);
  auto weights = model_.store->acquire(block);
  if (block + 1 < model_.blocks.size()) model_.store->prefetch(block + 1);
  frame.output = model_.blocks[block]->forward(frame.input, weights).hidden;
  if (at::GradMode::is_enabled()) frame.weights = std::move(weights);
  model_.store->release(block);
  return frame;
}

at::Tensor Executor::collect(std::size_t block, const at::Tensor& output, const at::Tensor& input,
                             const model::BlockWeights& weights, const at::Tensor& gradient) {
  std::vector<at::Tensor> leaves;
  std::vector<std::string> names;
  if (input.defined() && input.requires_grad()) leaves.push_back(input);
  const bool wants_input = !leaves.empty();
  for (const auto& [name, weight] : weights.all()) {
    if (!weight.trained()) continue;
    leaves.push_back(weight.leaf);
    names.push_back(name);
  }
  if (leaves.empty()) return {};
  auto gradients = torch::autograd::grad({output}, leaves, {gradient}, /*retain_graph=*/false, /*create_graph=*/false,
                                         /*allow_unused=*/true);
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto& found = gradients[i + (wants_input ? 1 : 0)];
    if (found.defined()) model_.store->add_gradient(block, names[i], std::move(found));
  }
  return wants_input ? gradients[0] : at::Tensor();
}

at::Tensor Executor::back_through(std::size_t block, Frame& frame, const at::Tensor& gradient) {
  if (block > 0) model_.store->prefetch(block - 1);
  auto weights = model_.store->acquire(block);
  if (options_.policy == ActivationPolicy::recompute) {
    at::AutoGradMode mode(true);
    frame.output = model_.blocks[block]->forward(frame.input, weights).hidden;
    frame.weights = std::move(weights);
  }
  auto result = collect(block, frame.output, frame.input.hidden, *frame.weights, gradient);
  model_.store->release(block);
  frame = Frame();
  return result;
}

LossSum Executor::run_head(const model::Activation& in, const at::Tensor& labels, double scale,
                           bool input_needs_gradient, at::Tensor& gradient) {
  const auto block = model_.blocks.size() - 1;
  const auto weights = model_.store->acquire(block);
  const auto hidden = in.hidden.detach().requires_grad_(input_needs_gradient);
  at::AutoGradMode mode(input_needs_gradient || model_.store->trains(block));
  const auto loss = head_of(model_).loss({hidden, in.sequences}, labels, weights, options_.logits_bytes);
  LossSum sum{loss.item<double>(), labels.ge(0).sum().item<std::int64_t>()};
  if (loss.requires_grad()) {
    gradient = collect(block, loss, hidden, weights, at::full({}, scale, loss.options()));
  }
  model_.store->release(block);
  return sum;
}

void Executor::back_through_embedding(const data::MicroBatch& batch, const at::Tensor& gradient) {
  at::AutoGradMode mode(true);
  const auto weights = model_.store->acquire(0);
  const auto& block = static_cast<const model::EmbeddingBlock&>(*model_.blocks.front());
  const auto output = block.embed(to_device(batch.input_ids, model_.device), nullptr, weights, model_.compute).hidden;
  collect(0, output, {}, weights, gradient);
  model_.store->release(0);
}

LossSum Executor::forward_backward(const data::MicroBatch& batch, double scale, std::int64_t step) {
  if (batch.tokens() == 0) return {};
  auto sequences = sequences_of(batch);
  sequences->selective = options_.policy == ActivationPolicy::selective;
  if (options_.dropout > 0) sequences->dropout = dropout_rows(batch, options_.seed, step);
  const auto labels = to_device(batch.labels, model_.device);

  at::AutoGradMode no_graph(false);
  const std::size_t head = model_.blocks.size() - 1;
  bool needs_gradient = model_.store->trains(0);  // does the activation that enters a block want its gradient?
  model::Activation activation = embed(batch, sequences);
  std::vector<Frame> frames(head);
  std::size_t first = head;  // the first decoder layer that backward must reach
  for (std::size_t block = 1; block < head; ++block) {
    auto frame = run_block(block, activation, needs_gradient);
    activation = {frame.output.detach(), sequences};
    const bool reached = needs_gradient || model_.store->trains(block);
    if (!reached) continue;
    first = std::min(first, block);
    needs_gradient = true;
    if (options_.policy == ActivationPolicy::recompute) frame.output.reset(), frame.weights.reset();
    frames[block] = std::move(frame);
  }
  at::Tensor gradient;
  const auto sum = run_head(activation, labels, scale, needs_gradient, gradient);
  activation = {};
  if (!gradient.defined()) return sum;
  for (std::size_t block = head - 1; block >= first && block > 0; --block) {
    gradient = back_through(block, frames[block], gradient);
  }
  if (model_.store->trains(0)) back_through_embedding(batch, gradient);
  return sum;
}

model::Activation Executor::hidden_states(const data::MicroBatch& batch,
                                          std::shared_ptr<const model::Sequences> sequences) {
  auto activation = embed(batch, std::move(sequences));
  for (std::size_t block = 1; block + 1 < model_.blocks.size(); ++block) {
    model_.store->prefetch(block + 1);
    activation = model_.blocks[block]->forward(activation, model_.store->acquire(block));
    model_.store->release(block);
  }
  return activation;
}

LossSum Executor::evaluate(const data::MicroBatch& batch) {
  if (batch.tokens() == 0) return {};
  at::AutoGradMode no_graph(false);
  at::Tensor unused;
  const auto hidden = hidden_states(batch, sequences_of(batch));
  const auto head = model_.blocks.size() - 1;
  const auto labels = to_device(batch.labels, model_.device);
  const auto loss = head_of(model_).loss(hidden, labels, model_.store->acquire(head), options_.logits_bytes);
  model_.store->release(head);
  return {loss.item<double>(), batch.supervised()};
}

at::Tensor Executor::logits(const data::MicroBatch& batch) {
  at::AutoGradMode no_graph(false);
  const auto hidden = hidden_states(batch, sequences_of(batch));
  const auto head = model_.blocks.size() - 1;
  auto result = head_of(model_).forward(hidden, model_.store->acquire(head)).hidden;
  model_.store->release(head);
  return result;
}

at::Tensor Executor::next_logits(const std::vector<std::int32_t>& ids, std::int64_t position,
                                 std::vector<model::LayerCache>& cache) {
  at::AutoGradMode no_graph(false);
  data::MicroBatch batch;
  batch.input_ids = ids;
  batch.offsets = {0, static_cast<std::int32_t>(ids.size())};
  batch.examples = {0};
  for (std::size_t i = 0; i < ids.size(); ++i)
    batch.positions.push_back(static_cast<std::int32_t>(position) + static_cast<std::int32_t>(i));
  auto sequences = sequences_of(batch);
  sequences->cache = &cache;
  auto activation = hidden_states(batch, sequences);
  activation.hidden = activation.hidden.narrow(0, activation.hidden.size(0) - 1, 1);
  const auto head = model_.blocks.size() - 1;
  auto result = head_of(model_).forward(activation, model_.store->acquire(head)).hidden;
  model_.store->release(head);
  return result;
}

}  // namespace lorica::engine
