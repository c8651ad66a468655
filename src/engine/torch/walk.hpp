// The order in which a pass asks the store for blocks. It is known before the pass begins, so the block after the one
// at work can be on its way, across the turn from forward to backward and from one micro-batch to the next.
#pragma once

#include <vector>

#include "engine/torch/parameter_store.hpp"

namespace lorica::engine {

class Walk {
 public:
  /// `order`: every block that will be acquired, in order. `ahead`: how many of them are asked for early.
  Walk(ParameterStore& store, std::vector<std::size_t> order, int ahead);
  /// The next block of the order; throws Error (ours) if it is another.
  model::BlockWeights acquire(std::size_t block);
  void release(std::size_t block);
  void release_after_backward(std::size_t block, bool last);
  void gradients_added(std::size_t block, bool last) { store_.gradients_added(block, last); }
  void add_gradient(std::size_t block, const std::string& local_name, at::Tensor gradient) {
    store_.add_gradient(block, local_name, std::move(gradient));
  }
  void add_row_gradients(std::size_t block, const std::string& local_name, const at::Tensor& ids,
                         const at::Tensor& rows, std::int64_t all_rows) {
    store_.add_row_gradients(block, local_name, ids, rows, all_rows);
  }
  bool finished() const { return next_ == order_.size(); }

 private:
  void ask();
  void ask_again(std::size_t block);
  ParameterStore& store_;
  std::vector<std::size_t> order_;
  std::size_t next_ = 0, asked_ = 0, ahead_;
};

}  // namespace lorica::engine
