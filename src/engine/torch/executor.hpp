// Walks the blocks: acquire parameters, run, release; then backward, block by block, each on its own small autograd
// graph that is freed before the next one's. What is kept between the two passes is the activation policy's choice.
#pragma once

#include "data/micro_batch.hpp"
#include "engine/engine.hpp"
#include "engine/torch/model_builder.hpp"

namespace lorica::engine {

/// What a decoder layer keeps for its backward.
enum class ActivationPolicy {
  keep,       ///< everything that autograd asks for
  recompute,  ///< its input alone; backward runs the layer again
  selective,  ///< the outputs of matrix products; backward runs the cheap operations between them again
};

struct ExecutorOptions {
  ActivationPolicy policy = ActivationPolicy::recompute;
  double dropout = 0;  ///< of the adapter; 0: no random numbers are prepared
  std::uint64_t seed = 0;
  std::int64_t logits_bytes = 64 << 20;  ///< scratch of the chunked loss
};

class Executor {
 public:
  Executor(Model& model, const ExecutorOptions& options) : model_(model), options_(options) {}

  /// Adds gradients of (summed loss × scale) to the store. `step` keys dropout.
  LossSum forward_backward(const data::MicroBatch& batch, double scale, std::int64_t step);
  LossSum evaluate(const data::MicroBatch& batch);
  /// float32 [T, vocabulary].
  at::Tensor logits(const data::MicroBatch& batch);
  /// Logits of the last of `ids` [1, vocabulary], which follow `cache`'s tokens at positions from `position`; the cache
  /// grows.
  at::Tensor next_logits(const std::vector<std::int32_t>& ids, std::int64_t position,
                         std::vector<model::LayerCache>& cache);

 private:
  struct Frame;
  std::shared_ptr<model::Sequences> sequences_of(const data::MicroBatch& batch) const;
  model::Activation embed(const data::MicroBatch& batch, std::shared_ptr<const model::Sequences> sequences);
  /// Hidden states behind the last decoder layer, nothing kept.
  model::Activation hidden_states(const data::MicroBatch& batch, std::shared_ptr<const model::Sequences> sequences);
  Frame run_block(std::size_t block, const model::Activation& in, bool input_needs_gradient);
  at::Tensor back_through(std::size_t block, Frame& frame, const at::Tensor& gradient);
  LossSum run_head(const model::Activation& in, const at::Tensor& labels, double scale, bool input_needs_gradient,
                   at::Tensor& gradient);
  void back_through_embedding(const data::MicroBatch& batch, const at::Tensor& gradient);
  at::Tensor collect(std::size_t block, const at::Tensor& output, const at::Tensor& input,
                     const model::BlockWeights& weights, const at::Tensor& gradient);

  Model& model_;
  ExecutorOptions options_;
};

}  // namespace lorica::engine
