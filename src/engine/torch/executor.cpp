#include "engine/torch/executor.hpp"

#include <ATen/ATen.h>

#include <numeric>
#include <optional>

#include "base/error.hpp"

namespace lorica::engine {

using parallel::Action;
using Kind = MicroBatchPass::Kind;

/// Micro-batches on their way through this process's blocks.
struct Executor::Run {
  std::span<const data::MicroBatch> batches;
  MicroBatchPass::Settings settings;
  std::vector<Action> actions;
  std::vector<LossSum> sums;
  at::Tensor logits;
};

/// What this process will ask the store for, in order.
std::vector<std::size_t> Executor::blocks_to_acquire(const Run& run) const {
  std::vector<std::size_t> order;
  const BackwardReach reach(model_.trains);
  const auto head = model_.blocks.size() - 1;
  for (const auto& action : run.actions) {
    const auto& batch = run.batches[static_cast<std::size_t>(action.micro_batch)];
    if (!MicroBatchPass::computes(batch, run.settings.kind) && !model_.store->collective()) continue;
    const auto& range = model_.owned[static_cast<std::size_t>(action.chunk)];
    if (action.kind == Action::Kind::forward) {
      for (auto block = range.begin; block < range.end; ++block) order.push_back(block);
    } else {
      for (auto block = std::min(range.end, head); block > range.begin && reach.reaches(block - 1); --block) {
        order.push_back(block - 1);
      }
    }
  }
  return order;
}

void Executor::run(Run& run) {
  const auto& batches = run.batches;
  const bool collective = model_.store->collective();
  Walk walk(*model_.store, blocks_to_acquire(run), options_.prefetch_blocks);
  const auto walks = [&](std::size_t i) {
    return collective || MicroBatchPass::computes(batches[i], run.settings.kind);
  };
  std::size_t last = 0;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    if (walks(i)) last = i;
  }
  run.sums.resize(batches.size());
  std::vector<std::optional<MicroBatchPass>> passes(batches.size());
  std::vector<at::Tensor> between(batches.size());
  for (const auto& action : run.actions) {
    const auto i = static_cast<std::size_t>(action.micro_batch);
    if (!walks(i)) continue;
    auto& pass = passes[i];
    if (!pass) {
      run.settings.last = i == last;
      pass.emplace(model_, options_, walk, batches[i], run.settings);
    }
    const auto& range = model_.owned[static_cast<std::size_t>(action.chunk)];
    const bool forward = action.kind == Action::Kind::forward;
    between[i] = forward ? pass->forward(range, std::move(between[i])) : pass->backward(range, std::move(between[i]));
    if (forward && range.end == model_.blocks.size()) {
      run.sums[i] = pass->loss();
      if (run.settings.kind == Kind::logits) run.logits = pass->logits();
    }
    const bool train = run.settings.kind == Kind::train;
    const auto last_chunk = static_cast<int>(model_.owned.size()) - 1;
    if (train ? !forward && action.chunk == 0 : action.chunk == last_chunk) pass.reset();
  }
  ensure(walk.finished(), "not all blocks of a pass were walked");
}

std::vector<LossSum> Executor::forward_backward(std::span<const data::MicroBatch> batches, double scale,
                                                std::int64_t step) {
  Run run{batches, {Kind::train, scale, step, false}, {}, {}, {}};
  run.actions = parallel::training_schedule(1, 1, static_cast<int>(batches.size())).actions.front();
  this->run(run);
  model_.store->finish_step();
  return run.sums;
}

std::vector<LossSum> Executor::evaluate(std::span<const data::MicroBatch> batches) {
  Run run{batches, {Kind::evaluate, 1, 0, false}, {}, {}, {}};
  run.actions = parallel::forward_schedule(1, 1, static_cast<int>(batches.size())).actions.front();
  this->run(run);
  return run.sums;
}

at::Tensor Executor::logits(const data::MicroBatch& batch) {
  Run run{{&batch, 1}, {Kind::logits, 1, 0, false}, {}, {}, {}};
  run.actions = parallel::forward_schedule(1, 1, 1).actions.front();
  this->run(run);
  return run.logits;
}

at::Tensor Executor::next_logits(const std::vector<std::int32_t>& ids, std::int64_t position,
                                 std::vector<model::LayerCache>& cache) {
  at::AutoGradMode no_graph(false);
  const auto count = model_.blocks.size();
  ensure(model_.owned.size() == 1 && model_.owned.front().begin == 0 && model_.owned.front().end == count,
         "a part of a pipeline can't generate text");
  data::MicroBatch batch;
  batch.offsets = {0, static_cast<std::int32_t>(ids.size())};
  for (std::size_t i = 0; i < ids.size(); ++i)
    batch.positions.push_back(static_cast<std::int32_t>(position) + static_cast<std::int32_t>(i));
  auto sequences = make_sequences(model_, batch);
  sequences->cache = &cache;
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  Walk walk(*model_.store, order, options_.prefetch_blocks);
  const auto& embedding = static_cast<const model::EmbeddingBlock&>(*model_.blocks.front());
  model::Activation activation;
  for (const auto block : order) {
    const auto weights = walk.acquire(block);
    if (block == 0) {
      activation = embedding.embed(to_device(ids, model_.device), sequences, weights, model_.compute);
    } else {
      if (block + 1 == count) activation.hidden = activation.hidden.narrow(0, activation.hidden.size(0) - 1, 1);
      activation = model_.blocks[block]->forward(activation, weights);
    }
    model_.store->release(block);
  }
  return activation.hidden;
}

}  // namespace lorica::engine
