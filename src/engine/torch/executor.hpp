// Runs the micro-batches of a step through the blocks of this process: acquire parameters, run, release; then backward,
// block by block, each on its own small autograd graph that is freed before the next one's. What is kept between the
// two passes is the activation policy's choice; in which order passes run, the pipeline schedule's.
#pragma once

#include <span>

#include "engine/torch/micro_batch_pass.hpp"
#include "parallel/pipeline_schedule.hpp"

namespace lorica::engine {

class Executor {
 public:
  Executor(Model& model, const ExecutorOptions& options) : model_(model), options_(options) {}

  /// All micro-batches of a step: adds gradients of (summed loss × scale) to the store. `step` keys dropout. One sum
  /// for each micro-batch.
  std::vector<LossSum> forward_backward(std::span<const data::MicroBatch> batches, double scale, std::int64_t step);
  std::vector<LossSum> evaluate(std::span<const data::MicroBatch> batches);
  /// float32 [T, vocabulary].
  at::Tensor logits(const data::MicroBatch& batch);
  /// Logits of the last of `ids` [1, vocabulary], which follow `cache`'s tokens at positions from `position`; the cache
  /// grows. For a process that has the whole model.
  at::Tensor next_logits(const std::vector<std::int32_t>& ids, std::int64_t position,
                         std::vector<model::LayerCache>& cache);

 private:
  struct Run;
  void run(Run& run);
  std::vector<std::size_t> blocks_to_acquire(const Run& run) const;

  Model& model_;
  ExecutorOptions options_;
};

}  // namespace lorica::engine
