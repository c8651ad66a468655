// A value that backward will need: held as it is, or as a recipe that makes it again from values that are held anyway.
// This is how selective recomputation works: matrix products are held, the cheap operations between them are recipes.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <utility>

namespace lorica::model {

/// How operations keep what backward will need.
struct Keeping {
  bool selective = false;  ///< cheap operations keep no output: backward makes it again (config::Recompute::selective)
  bool narrow = false;     ///< the widest tensors are held in bfloat16 (ExecutorOptions::narrow)
};

class Kept {
 public:
  Kept() = default;
  explicit Kept(at::Tensor value) : value_(std::move(value)) {}
  explicit Kept(std::function<at::Tensor()> recipe) : recipe_(std::move(recipe)) {}
  at::Tensor get() const { return recipe_ ? recipe_() : value_; }

 private:
  at::Tensor value_;
  std::function<at::Tensor()> recipe_;
};

/// An operation's result together with how its consumers should keep it for their backward.
struct Value {
  at::Tensor tensor;
  std::function<at::Tensor()> recipe;  ///< empty: keep the tensor itself

  Kept kept() const { return recipe ? Kept(recipe) : Kept(tensor.detach()); }
};

}  // namespace lorica::model
