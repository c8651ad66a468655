#include "engine/torch/walk.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace lorica::engine {

Walk::Walk(ParameterStore& store, std::vector<std::size_t> order, int ahead)
    : store_(store), order_(std::move(order)), ahead_(static_cast<std::size_t>(std::max(ahead, 0))) {
  ask();
}

void Walk::ask() {
  for (asked_ = std::max(asked_, next_); asked_ < std::min(next_ + ahead_, order_.size()); ++asked_) {
    store_.prefetch(order_[asked_]);
  }
}

model::BlockWeights Walk::acquire(std::size_t block) {
  ensure(!finished() && order_[next_] == block, "block {} is acquired out of turn", block);
  auto weights = store_.acquire(block);
  ++next_;
  ask();
  return weights;
}

void Walk::release(std::size_t block) {
  store_.release(block);
  ask_again(block);
}

void Walk::release_after_backward(std::size_t block, bool last) {
  store_.release_after_backward(block, last);
  ask_again(block);
}

/// A block that is asked for while it is still in use is there already, and gone once it is released.
void Walk::ask_again(std::size_t block) {
  if (next_ < asked_ && order_[next_] == block) store_.prefetch(block);
}

}  // namespace lorica::engine
