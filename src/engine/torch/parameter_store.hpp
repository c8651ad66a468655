// Where the blocks' parameters live. The executor acquires a block's weights, runs it, and releases them; gradients of
// trained parameters are handed back here. Blocks and executor never know whether parameters are resident, sharded or
// offloaded.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/weights.hpp"
#include "optim/optimizer.hpp"
#include "parallel/shard_layout.hpp"

namespace lorica::engine {

/// One parameter of the model: stored once, used by one block or (tied embeddings) two.
struct Parameter {
  std::string name;  ///< in a checkpoint: "model.layers.3.self_attn.q_proj.weight"; unique
  std::shared_ptr<quant::StoredWeight> stored;
  bool trained = false;
};

/// What a block uses: its local names, and the parameters behind them.
struct BlockLayout {
  std::map<std::string, std::string> parameters;                                ///< local name -> Parameter::name
  std::map<std::string, std::shared_ptr<const model::LinearAdapter>> adapters;  ///< by module ("self_attn.q_proj")
};

/// Rows [begin, begin + count) of a parameter: what this process holds of it.
using Rows = parallel::Range;

/// Bytes that a store holds.
struct StoreBytes {
  std::uint64_t weights = 0;        ///< frozen parameters, this process's part
  std::uint64_t trained = 0;        ///< trained ones, this process's part
  std::uint64_t gradients = 0;      ///< now
  std::uint64_t gathered_peak = 0;  ///< the most that was ever held of others' parts, on their way included
};

/// The gradient itself if nobody else reads its memory, else a copy: one that may be added to.
at::Tensor owned(at::Tensor gradient);

class ParameterStore {
 public:
  virtual ~ParameterStore() = default;
  /// A hint that `block` is next.
  virtual void prefetch(std::size_t block) = 0;
  /// The block's weights, ready to use until release(). What an autograd graph saved of them is valid again whenever
  /// the block is acquired again, not in between.
  virtual model::BlockWeights acquire(std::size_t block) = 0;
  virtual void release(std::size_t block) = 0;
  /// Instead of release() at the end of a block's backward: all its gradients of this micro-batch have been added.
  /// `last`: it is the step's last micro-batch, so they are to be reduced now if they haven't been.
  virtual void release_after_backward(std::size_t block, bool last) = 0;
  /// The same for a block whose gradients need none of its weights (the embedding), so that it wasn't acquired for its
  /// backward.
  virtual void gradients_added(std::size_t block, bool last) = 0;
  /// All micro-batches of the step have been through their backward: returns when the gradients are complete.
  virtual void finish_step() = 0;
  /// True if acquiring and releasing are collective: then a process without tokens must do it all the same, for the
  /// same blocks in the same order.
  virtual bool collective() const = 0;
  /// Adds to the gradient of the trained parameter that `block` calls `local_name`.
  virtual void add_gradient(std::size_t block, const std::string& local_name, at::Tensor gradient) = 0;
  /// Adds `rows` [T, columns] to the rows `ids` (int64 [T]) of that parameter's gradient [all_rows, columns], in its
  /// dtype.
  virtual void add_row_gradients(std::size_t block, const std::string& local_name, const at::Tensor& ids,
                                 const at::Tensor& rows, std::int64_t all_rows);
  /// True if hand_over() may be called.
  virtual bool hands_over() const { return false; }
  /// From now on each trained parameter goes to `taker` as soon as its gradient is complete, in the backward of the
  /// step's last micro-batch; its gradient is then dropped. An empty function ends that.
  virtual void hand_over(std::function<void(optim::TrainableParameter&)> taker);
  /// True if a gradient for that parameter would wait, as large as the parameter, for the one of an earlier block
  /// before it is handed over (a tied head's for the embedding's). Then it is better made when that block's is.
  virtual bool better_later(std::size_t, const std::string&) const { return false; }
  /// This process's part of every trained parameter, with its gradient of now (undefined if none came), in a fixed
  /// order.
  virtual std::vector<optim::TrainableParameter> trainable() = 0;
  /// Sets the gradient of that part.
  virtual void set_gradient(const std::string& name, at::Tensor gradient) = 0;
  virtual void clear_gradients() = 0;
  /// What is stored: names, formats, shapes. Their tensors may be absent (sharded) unless the block is acquired.
  virtual const std::vector<Parameter>& parameters() const = 0;
  /// What a block of this process uses.
  virtual const BlockLayout& layout(std::size_t block) const = 0;
  /// Which rows of a trained parameter this process holds: trainable()'s value.
  virtual Rows rows(const std::string& name) const = 0;
  /// A trained parameter, whole. Collective over those that share it.
  virtual at::Tensor whole(const std::string& name) = 0;
  virtual StoreBytes bytes() const = 0;
  /// Seconds that blocks had to wait for their parameters, so far.
  virtual double gather_wait() const { return 0; }
};

/// All parameters in the memory of one device, all the time.
class ResidentStore : public ParameterStore {
 public:
  ResidentStore(std::vector<Parameter> parameters, std::vector<BlockLayout> layouts);
  void prefetch(std::size_t) override {}
  model::BlockWeights acquire(std::size_t block) override;
  void release(std::size_t) override {}
  void release_after_backward(std::size_t block, bool last) override { gradients_added(block, last); }
  void gradients_added(std::size_t block, bool last) override;
  void finish_step() override {}
  bool collective() const override { return false; }
  void add_gradient(std::size_t block, const std::string& local_name, at::Tensor gradient) override;
  void add_row_gradients(std::size_t block, const std::string& local_name, const at::Tensor& ids,
                         const at::Tensor& rows, std::int64_t all_rows) override;
  bool hands_over() const override { return true; }
  void hand_over(std::function<void(optim::TrainableParameter&)> taker) override { taker_ = std::move(taker); }
  bool better_later(std::size_t block, const std::string& local_name) const override;
  std::vector<optim::TrainableParameter> trainable() override;
  void set_gradient(const std::string& name, at::Tensor gradient) override;
  void clear_gradients() override;
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  const BlockLayout& layout(std::size_t block) const override { return layouts_.at(block); }
  Rows rows(const std::string& name) const override;
  at::Tensor whole(const std::string& name) override;
  StoreBytes bytes() const override;

 private:
  optim::TrainableParameter trainable(std::size_t position) const;
  std::size_t index_of(const std::string& name) const;
  std::vector<Parameter> parameters_;
  std::vector<BlockLayout> layouts_;
  std::map<std::string, std::size_t> positions_;
  std::vector<at::Tensor> leaves_, gradients_;  // by position; undefined where not trained
  std::vector<std::size_t> first_user_;         // by position: the block whose backward is the last to add gradients
  std::function<void(optim::TrainableParameter&)> taker_;
};

}  // namespace lorica::engine
