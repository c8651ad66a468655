// Parameters spread over several processes (ZeRO, Rajbhandari et al. 2020; FSDP, Zhao et al. 2023): each holds a shard
// of every parameter; a block's are gathered in one collective when it is at work, quantized ones as the bytes they
// are, and given back afterwards. Gradients of trained parameters are summed and kept as shards.
#pragma once

#include <optional>

#include "engine/torch/gradient_reducer.hpp"
#include "engine/torch/parameter_store.hpp"
#include "engine/torch/reusable_buffer.hpp"

namespace lorica::engine {

struct ShardingOptions {
  bool reshard_after_forward = true;  ///< full_shard; false: gathered blocks stay until the end of the step
  bool reduce_once = false;           ///< no_sync: gradients are summed after the step's last micro-batch only
  std::optional<at::ScalarType> reduce_dtype;
  std::int64_t prefetch_blocks = 1;
};

/// Parameters that are gathered together: a block's, or those that two blocks share. `chunk` is this process's shard of
/// them, laid out by layout_of().
struct ShardedGroup {
  std::vector<Parameter> parameters;  ///< without tensors
  at::Tensor chunk;                   ///< uint8
};

/// The groups by which parameters travel. With one shard nothing is gathered: the chunk is the parameters.
class ShardedStore : public ParameterStore {
 public:
  /// `shards` hold the other parts of this copy (gathers and reductions run in groups of their own, so that they
  /// overlap), `replicas` this part of the other copies. `layouts`: by block; empty for blocks of other stages.
  ShardedStore(std::vector<ShardedGroup> groups, std::vector<BlockLayout> layouts, parallel::ProcessGroup& gather,
               parallel::ProcessGroup& reduce, parallel::ProcessGroup& replicas, const ShardingOptions& options);
  ~ShardedStore() override;

  void prefetch(std::size_t block) override;
  model::BlockWeights acquire(std::size_t block) override;
  void release(std::size_t block) override;
  void release_after_backward(std::size_t block, bool last) override;
  void gradients_added(std::size_t block, bool last) override;
  void finish_step() override;
  bool collective() const override { return true; }
  void add_gradient(std::size_t block, const std::string& local_name, at::Tensor gradient) override;
  std::vector<optim::TrainableParameter> trainable() override;
  void set_gradient(const std::string& name, at::Tensor gradient) override;
  void clear_gradients() override { reducer_.clear(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  const BlockLayout& layout(std::size_t block) const override { return layouts_.at(block); }
  Rows rows(const std::string& name) const override;
  at::Tensor whole(const std::string& name) override;
  StoreBytes bytes() const override;
  double gather_wait() const override { return gather_wait_; }

 private:
  struct Group;
  /// Where a parameter is.
  struct Place {
    std::size_t position = 0;  ///< in parameters_
    std::size_t group = 0;
    std::size_t trained = 0;  ///< among the group's trained tensors
    at::Tensor shard, leaf;   ///< if it is trained
  };
  void add_group(ShardedGroup group);
  void start(Group& group);
  void complete(Group& group);
  void drop(Group& group);
  void leave(std::size_t block);
  const Place& place(const std::string& name) const;

  parallel::ProcessGroup& gather_;
  ShardingOptions options_;
  GradientReducer reducer_;
  BufferPool pool_;
  std::vector<Parameter> parameters_;
  std::vector<BlockLayout> layouts_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<std::vector<std::size_t>> groups_of_;  // by block
  std::map<std::string, Place> places_;
  double gather_wait_ = 0;  // seconds
};

}  // namespace lorica::engine
