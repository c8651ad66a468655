#include "engine/torch/executor.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>

#include "base/error.hpp"
#include "engine/torch/pipeline_channel.hpp"
#include "model/scope.hpp"

namespace lorica::engine {

using parallel::Action;
using Kind = MicroBatchPass::Kind;
using Message = PipelineChannel::Message;

/// Micro-batches on their way through this process's blocks, in the order of its stage's schedule.
class Executor::Run {
 public:
  Run(Model& model, const ExecutorOptions& options, std::span<const data::MicroBatch> batches,
      const MicroBatchPass::Settings& settings, const parallel::Schedule& schedule)
      : model_(model),
        options_(options),
        batches_(batches),
        settings_(settings),
        stages_(schedule.stages),
        parts_(schedule.stages * schedule.chunks),
        actions_(schedule.actions.at(static_cast<std::size_t>(model.mesh.stage))),
        reach_(model.trains),
        channel_(model.pipeline.get(), schedule, model.mesh.stage, model.device),
        walk_(*model.store, blocks_to_acquire(), options.prefetch_blocks),
        passes_(batches.size()) {
    sums.resize(batches.size());
    for (std::size_t i = 0; i < batches.size(); ++i) {
      if (walks(i)) last_ = i;
    }
  }

  void execute() {
    if (!actions_.empty()) expect(actions_.front());
    for (std::size_t i = 0; i < actions_.size(); ++i) {
      if (i + 1 < actions_.size()) expect(actions_[i + 1]);
      if (walks(static_cast<std::size_t>(actions_[i].micro_batch))) perform(actions_[i]);
    }
    channel_.flush();
    ensure(walk_.finished(), "not all blocks of a pass were walked");
  }

  PipelineChannel& channel() { return channel_; }

  std::vector<LossSum> sums;
  at::Tensor logits;

 private:
  bool computes(std::size_t batch) const { return MicroBatchPass::computes(batches_[batch], settings_.kind); }
  bool walks(std::size_t batch) const { return computes(batch) || model_.store->collective(); }
  int part_of(const Action& action) const { return action.chunk * stages_ + model_.mesh.stage; }
  const BlockRange& range_of(const Action& action) const {
    return model_.owned[static_cast<std::size_t>(action.chunk)];
  }

  /// What an action needs from another part, and what it gives to one.
  std::optional<Message> needs(const Action& action) const;
  std::optional<Message> gives(const Action& action) const;
  void expect(const Action& action);
  void perform(const Action& action);
  std::vector<std::size_t> blocks_to_acquire() const;

  Model& model_;
  const ExecutorOptions& options_;
  std::span<const data::MicroBatch> batches_;
  MicroBatchPass::Settings settings_;
  int stages_, parts_;
  const std::vector<Action>& actions_;
  BackwardReach reach_;
  PipelineChannel channel_;
  Walk walk_;
  std::vector<std::optional<MicroBatchPass>> passes_;  ///< by micro-batch, while it is in flight
  std::size_t last_ = 0;                               ///< the last micro-batch that is walked
};

std::optional<Message> Executor::Run::needs(const Action& action) const {
  const int part = part_of(action);
  const bool forward = action.kind == Action::Kind::forward;
  const bool from_another = forward ? part > 0 : part + 1 < parts_ && reach_.reaches(range_of(action).end - 1);
  if (!from_another || !computes(static_cast<std::size_t>(action.micro_batch))) return std::nullopt;
  return Message{action.kind, part, action.micro_batch};
}

std::optional<Message> Executor::Run::gives(const Action& action) const {
  const int part = part_of(action);
  const bool forward = action.kind == Action::Kind::forward;
  const bool to_another = forward ? part + 1 < parts_ : part > 0 && reach_.wants_input(range_of(action).begin);
  if (!to_another || !computes(static_cast<std::size_t>(action.micro_batch))) return std::nullopt;
  return Message{action.kind, forward ? part + 1 : part - 1, action.micro_batch};
}

void Executor::Run::expect(const Action& action) {
  const auto message = needs(action);
  if (!message) return;
  const auto tokens = batches_[static_cast<std::size_t>(action.micro_batch)].tokens();
  channel_.expect(*message, at::empty({tokens, model_.architecture.hidden_size},
                                      at::TensorOptions().device(model_.device).dtype(model_.compute)));
}

void Executor::Run::perform(const Action& action) {
  const auto i = static_cast<std::size_t>(action.micro_batch);
  const bool forward = action.kind == Action::Kind::forward, train = settings_.kind == Kind::train;
  const auto& range = range_of(action);
  const model::Scope scope("{} of micro-batch {}", forward ? "forward" : "backward", i + 1);
  auto& pass = passes_[i];
  if (!pass) {
    settings_.last = i == last_;
    pass.emplace(model_, options_, walk_, batches_[i], settings_);
  }
  at::Tensor tensor;
  if (const auto message = needs(action)) tensor = channel_.receive(*message);
  tensor = forward ? pass->forward(range, std::move(tensor)) : pass->backward(range, std::move(tensor));
  if (const auto message = gives(action)) channel_.send(*message, std::move(tensor));
  // By the time of a backward pass the next part has had what it needed for it.
  if (!forward) channel_.settle({Action::Kind::forward, part_of(action) + 1, action.micro_batch});
  if (forward && part_of(action) + 1 == parts_) {
    sums[i] = pass->loss();
    if (settings_.kind == Kind::logits) logits = pass->logits();
  }
  const int chunks = parts_ / stages_;
  if (train ? !forward && action.chunk == 0 : action.chunk + 1 == chunks) pass.reset();
}

/// What this process will ask the store for, in order.
std::vector<std::size_t> Executor::Run::blocks_to_acquire() const {
  std::vector<std::size_t> order;
  const auto head = model_.blocks.size() - 1;
  for (const auto& action : actions_) {
    if (!walks(static_cast<std::size_t>(action.micro_batch))) continue;
    const auto& range = range_of(action);
    if (action.kind == Action::Kind::forward) {
      for (auto block = range.begin; block < range.end; ++block) order.push_back(block);
    } else {
      for (auto block = std::min(range.end, head); block > range.begin && reach_.reaches(block - 1); --block) {
        if (block > 1) order.push_back(block - 1);  // the embedding's gradient doesn't need it
      }
    }
  }
  return order;
}

std::vector<LossSum> Executor::forward_backward(std::span<const data::MicroBatch> batches, double scale,
                                                std::int64_t step) {
  const auto start = std::chrono::steady_clock::now();
  const auto schedule = parallel::training_schedule(model_.mesh.stages, chunks(), static_cast<int>(batches.size()));
  Run run(model_, options_, batches, {Kind::train, scale, step, false}, schedule);
  run.execute();
  run.channel().announce_end();
  model_.store->finish_step();
  run.channel().await_end();
  if (model_.mesh.stages > 1 && scale != 0) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    seconds_ += seconds;
    idle_seconds_ += run.channel().waited();
    // A backward pass costs about twice a forward pass; for the idle share that hardly matters.
    const auto simulation = parallel::simulate(schedule, 1, 2);
    bubble_seconds_ += seconds * simulation.idle[static_cast<std::size_t>(model_.mesh.stage)];
  }
  return run.sums;
}

PipelineFacts Executor::pipeline_facts() const {
  if (seconds_ == 0) return {};
  return {idle_seconds_ / seconds_, bubble_seconds_ / seconds_};
}

std::vector<LossSum> Executor::evaluate(std::span<const data::MicroBatch> batches) {
  const auto schedule = parallel::forward_schedule(model_.mesh.stages, chunks(), static_cast<int>(batches.size()));
  Run run(model_, options_, batches, {Kind::evaluate, 1, 0, false}, schedule);
  run.execute();
  return run.sums;
}

at::Tensor Executor::logits(const data::MicroBatch& batch) {
  const auto schedule = parallel::forward_schedule(model_.mesh.stages, chunks(), 1);
  Run run(model_, options_, {&batch, 1}, {Kind::logits, 1, 0, false}, schedule);
  run.execute();
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
  const auto tokens = make_batch(model_, batch);
  model::Pass pass;
  pass.cache = &cache;
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  Walk walk(*model_.store, order, options_.prefetch_blocks);
  const auto& embedding = static_cast<const model::EmbeddingBlock&>(*model_.blocks.front());
  at::Tensor hidden;
  for (const auto block : order) {
    const auto weights = walk.acquire(block);
    if (block == 0) {
      hidden = embedding.part().forward(to_device(ids, model_.device), weights, model_.compute);
    } else {
      if (block + 1 == count) hidden = hidden.narrow(0, hidden.size(0) - 1, 1);
      hidden = model_.blocks[block]->forward(hidden, weights, tokens, pass);
    }
    model_.store->release(block);
  }
  return hidden;
}

}  // namespace lorica::engine
