// One micro-batch on its way through the blocks of this process: the parts that a schedule puts in order, and what is
// kept between them. Several passes can be under way at once.
#pragma once

#include <optional>
#include <vector>

#include "config/vocabulary.hpp"
#include "data/micro_batch.hpp"
#include "engine/engine.hpp"
#include "engine/torch/model_builder.hpp"
#include "engine/torch/walk.hpp"

namespace lorica::engine {

struct ExecutorOptions {
  config::Recompute policy = config::Recompute::recompute;  ///< not automatic
  bool narrow = false;  ///< `selective` holds gate and up, the widest, in bfloat16 though the compute dtype is wider
  bool offload_activations = false;  ///< what `recompute` keeps waits in host memory
  double dropout = 0;                ///< of the adapter; 0: no random numbers are prepared
  std::uint64_t seed = 0;
  std::int64_t logits_bytes = 64 << 20;  ///< scratch of the chunked loss
  int prefetch_blocks = 1;               ///< blocks that the store is asked for ahead of the one at work
};

/// Where gradients flow: the first block with anything trained. It and all behind it are run backward.
class BackwardReach {
 public:
  explicit BackwardReach(const std::vector<bool>& trains);
  bool reaches(std::size_t block) const { return block >= first_; }
  bool wants_input(std::size_t block) const { return block > first_; }  ///< the gradient of what enters it

 private:
  std::size_t first_;
};

/// A micro-batch as the model's blocks see it: offsets and rotary tables.
model::Batch make_batch(const Model& model, const data::MicroBatch& batch);
/// Token ids or labels, int64.
at::Tensor to_device(const std::vector<std::int32_t>& values, at::Device device);

class MicroBatchPass {
 public:
  enum class Kind { train, evaluate, logits };
  struct Settings {
    Kind kind = Kind::evaluate;
    double scale = 1;       ///< train: of the loss whose gradients are added
    std::int64_t step = 0;  ///< train: keys dropout
    bool last = false;      ///< train: no pass of this step comes after it
  };

  /// Without anything to compute (no supervised token; for logits: no token) a pass only acquires and releases blocks,
  /// so that a process stays in step with others when that is collective.
  static bool computes(const data::MicroBatch& batch, Kind kind);

  MicroBatchPass(Model& model, const ExecutorOptions& options, Walk& walk, const data::MicroBatch& batch,
                 const Settings& settings);
  ~MicroBatchPass();
  MicroBatchPass(MicroBatchPass&&) noexcept;

  bool computes() const { return computes_; }
  /// Runs `range` on the activation [T, hidden_size] that enters it (undefined for the embedding, whose input is ids).
  /// Returns the activation that leaves it; behind the head nothing: see loss() and logits(). The head runs backward
  /// at once, as nothing stands between its two directions.
  at::Tensor forward(BlockRange range, at::Tensor hidden);
  /// Takes the gradient of the activation that left `range` (undefined behind the head). Returns the gradient of the
  /// one that entered it; undefined if no block before it is trained. For ranges with a block that gradients reach.
  at::Tensor backward(BlockRange range, at::Tensor gradient);

  LossSum loss() const;                              ///< after the head's forward; zero without it
  const at::Tensor& logits() const { return out_; }  ///< float32 [T, vocabulary], after the head's forward

 private:
  struct Frame;
  struct DelayedHead;
  at::Tensor run_block(std::size_t block, at::Tensor hidden);
  at::Tensor back_through(std::size_t block, const at::Tensor& gradient);
  void run_head(const at::Tensor& hidden);
  const model::Head& head_part() const;
  const model::Embedding& embedding_part() const;
  void add_delayed_head_gradient();
  void add_embedding_gradient(const at::Tensor& gradient);
  at::Tensor embed(const model::BlockWeights& weights);
  at::Tensor collect(std::size_t block, const at::Tensor& output, const at::Tensor& input,
                     const model::BlockWeights& weights, const at::Tensor& gradient);
  void pass_over(BlockRange range);
  bool graph(std::size_t block) const { return settings_.kind == Kind::train && reach_.reaches(block); }
  std::size_t head() const { return model_.blocks.size() - 1; }

  Model& model_;
  const ExecutorOptions& options_;
  Walk& walk_;
  const data::MicroBatch& batch_;
  Settings settings_;
  bool computes_;
  BackwardReach reach_;
  model::Batch tokens_;                      ///< what blocks see of batch_
  model::Pass pass_;                         ///< how they run
  at::ScalarType table_dtype_ = at::kFloat;  ///< of the embedding, which its gradient has too
  std::int64_t table_rows_ = 0;
  std::vector<Frame> frames_;                  ///< by block
  at::Tensor head_gradient_;                   ///< of the head's input, from its forward until its backward
  std::unique_ptr<DelayedHead> delayed_head_;  ///< null unless the head's weight gets its gradient with the embedding
  at::Tensor out_;                             ///< the summed loss, or the logits
};

}  // namespace lorica::engine
