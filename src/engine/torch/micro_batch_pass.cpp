#include "engine/torch/micro_batch_pass.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>

#include "base/error.hpp"
#include "engine/scope.hpp"
#include "model/rope_tables.hpp"
#include "model/scope.hpp"

namespace lorica::engine {
namespace {

/// "layer 3: forward"
model::Scope scope_of(const model::Block& block, std::string_view direction) {
  if (block.spec().kind == model::BlockSpec::Kind::embedding) return model::Scope("embedding{}", direction);
  return model::Scope("layer {}{}", block.spec().layer, direction);
}

/// The same weights, of which only those that `is_chosen` are trained. The head has no adapter.
model::BlockWeights training_only(const model::BlockWeights& weights,
                                  const std::function<bool(const std::string&)>& is_chosen) {
  model::BlockWeights result;
  for (const auto& [name, weight] : weights.all()) {
    result.add(name, {weight.stored, is_chosen(name) ? weight.leaf : at::Tensor()});
  }
  return result;
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

model::Batch make_batch(const Model& model, const data::MicroBatch& batch) {
  model::Batch result;
  result.offsets.assign(batch.offsets.begin(), batch.offsets.end());
  result.ropes = model::make_rope_tables(model.architecture, batch.positions, result.offsets, model.device);
  return result;
}

at::Tensor to_device(const std::vector<std::int32_t>& values, at::Device device) {
  auto tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<std::int64_t>());
  return tensor.to(device);
}

BackwardReach::BackwardReach(const std::vector<bool>& trains)
    : first_(static_cast<std::size_t>(std::find(trains.begin(), trains.end(), true) - trains.begin())) {}

/// What is held of a block between its forward and its backward.
struct MicroBatchPass::Frame {
  at::Tensor input;   ///< a leaf that requires grad if the blocks before it want its gradient; offloaded: on the host
  at::Tensor output;  ///< with its graph; undefined if it is to be recomputed
  std::optional<model::BlockWeights> weights;  ///< the leaves that the graph ends in
};

bool MicroBatchPass::computes(const data::MicroBatch& batch, Kind kind) {
  return kind == Kind::logits ? batch.tokens() > 0 : batch.supervised() > 0;
}

MicroBatchPass::MicroBatchPass(Model& model, const ExecutorOptions& options, Walk& walk, const data::MicroBatch& batch,
                               const Settings& settings)
    : model_(model),
      options_(options),
      walk_(walk),
      batch_(batch),
      settings_(settings),
      computes_(computes(batch, settings.kind)),
      reach_(model.trains) {
  if (!computes_) return;
  const model::Scope scope("prepare micro-batch");
  tokens_ = make_batch(model_, batch);
  if (settings.kind != Kind::train) return;
  pass_.keeping.selective = options.policy == config::Recompute::selective;
  pass_.keeping.narrow = pass_.keeping.selective && options.narrow;
  if (options.dropout > 0) pass_.dropout = dropout_rows(batch, options.seed, settings.step);
  frames_.resize(model_.blocks.size());
}

struct MicroBatchPass::DelayedHead {
  model::Head::Predictions predictions;
  model::BlockWeights weights;  ///< of which only the head's own matrix is trained
};

MicroBatchPass::~MicroBatchPass() = default;
MicroBatchPass::MicroBatchPass(MicroBatchPass&&) noexcept = default;

at::Tensor MicroBatchPass::embed(const model::BlockWeights& weights) {
  const auto& table = weights.tensor(model::kEmbeddingWeight);
  table_dtype_ = table.scalar_type();
  table_rows_ = table.size(0);
  return embedding_part().forward(to_device(batch_.input_ids, model_.device), weights, model_.compute);
}

at::Tensor MicroBatchPass::run_block(std::size_t block, at::Tensor hidden) {
  const auto scope = scope_of(*model_.blocks[block], scopes::kForward);
  const bool graph = this->graph(block);
  const bool recompute = options_.policy == config::Recompute::recompute;
  Frame frame;
  frame.input = hidden.detach();
  hidden.reset();
  if (graph && reach_.wants_input(block)) frame.input.requires_grad_(true);
  at::AutoGradMode mode(graph && !recompute);
  auto weights = walk_.acquire(block);
  const auto output = model_.blocks[block]->forward(frame.input, weights, tokens_, pass_);
  if (graph) {
    if (recompute && options_.offload_activations) frame.input = frame.input.detach().to(at::kCPU);
    if (!recompute) {
      frame.output = output;
      frame.weights = std::move(weights);
    }
    frames_[block] = std::move(frame);
  }
  walk_.release(block);
  return output.detach();
}

const model::Head& MicroBatchPass::head_part() const {
  return static_cast<const model::HeadBlock&>(*model_.blocks[head()]).part();
}

const model::Embedding& MicroBatchPass::embedding_part() const {
  return static_cast<const model::EmbeddingBlock&>(*model_.blocks.front()).part();
}

/// At the price of the logits once more, the gradient of a tied head doesn't take up memory while the layers have
/// theirs.
void MicroBatchPass::add_delayed_head_gradient() {
  const model::Scope scope(scopes::kHead);
  const auto [predictions, weights] = *std::exchange(delayed_head_, nullptr);
  at::AutoGradMode mode(true);
  const auto loss = head_part().loss(predictions, weights, options_.logits_bytes);
  collect(head(), loss, {}, weights, at::full({}, settings_.scale, loss.options()));
}

void MicroBatchPass::run_head(const at::Tensor& hidden) {
  const model::Scope scope(scopes::kHead);
  const auto block = head();
  auto weights = walk_.acquire(block);
  if (settings_.kind == Kind::logits) {
    out_ = model_.blocks[block]->forward(hidden, weights, tokens_, pass_);
    walk_.release(block);
    return;
  }
  const bool graph = this->graph(block);
  const auto input = hidden.detach().requires_grad_(graph && reach_.wants_input(block));
  at::AutoGradMode mode(graph);
  const auto labels = to_device(batch_.labels, model_.device);
  const auto predictions = head_part().predictions(input, labels, weights);
  if (graph && settings_.last && model_.store->better_later(block, model::kHeadWeight)) {
    const auto is_head_weight = [](const std::string& name) { return name == model::kHeadWeight; };
    // What the norm made of the input is kept: by then the norm's own weight has been updated.
    delayed_head_ = std::make_unique<DelayedHead>(
        DelayedHead{{predictions.rows.detach(), predictions.labels}, training_only(weights, is_head_weight)});
    weights = training_only(weights, std::not_fn(is_head_weight));
  }
  const auto loss = head_part().loss(predictions, weights, options_.logits_bytes);
  out_ = loss.detach();
  if (graph) {
    head_gradient_ = collect(block, loss, input, weights, at::full({}, settings_.scale, loss.options()));
    walk_.release_after_backward(block, settings_.last);
  } else {
    walk_.release(block);
  }
}

at::Tensor MicroBatchPass::forward(BlockRange range, at::Tensor hidden) {
  at::AutoGradMode no_graph(false);
  if (!computes_) {
    pass_over(range);
    return {};
  }
  for (auto block = range.begin; block < range.end; ++block) {
    if (block == 0) {
      const auto scope = scope_of(*model_.blocks[0], scopes::kForward);
      hidden = embed(walk_.acquire(0));
      walk_.release(0);
    } else if (block < head()) {
      hidden = run_block(block, std::move(hidden));
    } else {
      run_head(hidden);
      hidden.reset();
    }
  }
  return hidden;
}

/// What forward() does, without the computing.
void MicroBatchPass::pass_over(BlockRange range) {
  for (auto block = range.begin; block < range.end; ++block) {
    walk_.acquire(block);
    if (block == head() && graph(block)) {
      walk_.release_after_backward(block, settings_.last);
    } else {
      walk_.release(block);
    }
  }
}

at::Tensor MicroBatchPass::collect(std::size_t block, const at::Tensor& output, const at::Tensor& input,
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
    if (found.defined()) walk_.add_gradient(block, names[i], std::move(found));
  }
  return wants_input ? gradients[0] : at::Tensor();
}

at::Tensor MicroBatchPass::back_through(std::size_t block, const at::Tensor& gradient) {
  const auto scope = scope_of(*model_.blocks[block], scopes::kBackward);
  auto frame = std::exchange(frames_[block], Frame());
  auto weights = walk_.acquire(block);
  if (options_.policy == config::Recompute::recompute) {
    if (options_.offload_activations) {
      frame.input = frame.input.to(model_.device).detach().requires_grad_(reach_.wants_input(block));
    }
    const auto again = scope_of(*model_.blocks[block], scopes::kRecompute);
    at::AutoGradMode mode(true);
    frame.output = model_.blocks[block]->forward(frame.input, weights, tokens_, pass_);
    frame.weights = std::move(weights);
  }
  auto result = collect(block, frame.output, frame.input, *frame.weights, gradient);
  frame = Frame();
  walk_.release_after_backward(block, settings_.last);
  return result;
}

/// Rows of the gradient are added up by token id. The table itself is not needed, and so not gathered again.
void MicroBatchPass::add_embedding_gradient(const at::Tensor& gradient) {
  const auto scope = scope_of(*model_.blocks[0], scopes::kBackward);
  if (delayed_head_) add_delayed_head_gradient();
  walk_.add_row_gradients(0, model::kEmbeddingWeight, to_device(batch_.input_ids, model_.device),
                          embedding_part().row_gradients(gradient, table_dtype_), table_rows_);
}

at::Tensor MicroBatchPass::backward(BlockRange range, at::Tensor gradient) {
  at::AutoGradMode no_graph(false);
  if (range.end > head()) {
    gradient = std::exchange(head_gradient_, at::Tensor());
    range.end = head();
  }
  for (auto block = range.end; block > range.begin && reach_.reaches(block - 1); --block) {
    if (block == 1) {
      if (computes_) add_embedding_gradient(gradient);
      walk_.gradients_added(0, settings_.last);
      gradient.reset();
    } else if (!computes_) {
      walk_.acquire(block - 1);
      walk_.release_after_backward(block - 1, settings_.last);
    } else {
      gradient = back_through(block - 1, gradient);
    }
  }
  return gradient;
}

LossSum MicroBatchPass::loss() const {
  if (!out_.defined() || settings_.kind == Kind::logits) return {};
  return {out_.item<double>(), batch_.supervised()};
}

}  // namespace lorica::engine
