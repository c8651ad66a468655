// Runs the micro-batches of a step through the blocks of this process: acquire parameters, run, release; then backward,
// block by block, each on its own small autograd graph that is freed before the next one's. What is kept between the
// two passes is the activation policy's choice; in which order passes run, the pipeline schedule's.
#pragma once

#include <span>

#include "engine/torch/micro_batch_pass.hpp"
#include "parallel/pipeline_schedule.hpp"

namespace lorica::engine {

/// How a process spent its training steps as a stage of a pipeline.
struct PipelineFacts {
  double idle_share = 0;  ///< of the time of forward and backward passes: waiting for other stages
  double bubble = 0;      ///< what that is in theory, if all passes through a chunk take the same time
};

class Executor {
 public:
  Executor(Model& model, const ExecutorOptions& options) : model_(model), options_(options) {}

  /// All micro-batches of a step: adds gradients of (summed loss × scale) to the store. `step` keys dropout. One sum
  /// for each micro-batch, known on the last stage of a pipeline: on the others they are zero. All stages are given the
  /// same micro-batches.
  std::vector<LossSum> forward_backward(std::span<const data::MicroBatch> batches, double scale, std::int64_t step);
  /// The same, forward only.
  std::vector<LossSum> evaluate(std::span<const data::MicroBatch> batches);
  /// float32 [T, vocabulary]; undefined on the stages before the last.
  at::Tensor logits(const data::MicroBatch& batch);
  /// Logits of the last of `ids` [1, vocabulary], which follow `cache`'s tokens at positions from `position`; the cache
  /// grows. For a process that has the whole model.
  at::Tensor next_logits(const std::vector<std::int32_t>& ids, std::int64_t position,
                         std::vector<model::LayerCache>& cache);
  config::Recompute policy() const { return options_.policy; }
  /// Over all training steps so far; those with a scale of 0 are rehearsals.
  PipelineFacts pipeline_facts() const;

 private:
  class Run;
  int chunks() const { return static_cast<int>(model_.owned.size()); }

  Model& model_;
  ExecutorOptions options_;
  double seconds_ = 0, idle_seconds_ = 0, bubble_seconds_ = 0;  ///< of training steps
};

}  // namespace lorica::engine
