// Lets an autograd function of ours keep any C++ value for its backward (quantized weights, recipes, keys), not tensors
// alone.
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace lorica::model {

template <class T>
struct SavedState : torch::CustomClassHolder {
  explicit SavedState(T state) : value(std::move(state)) {}
  T value;
};

template <class T>
void save_state(torch::autograd::AutogradContext* ctx, T state) {
  ctx->saved_data["state"] = c10::IValue::make_capsule(c10::make_intrusive<SavedState<T>>(std::move(state)));
}

/// The value that save_state kept; valid during this backward.
template <class T>
const T& saved_state(torch::autograd::AutogradContext* ctx) {
  return static_cast<const SavedState<T>*>(ctx->saved_data["state"].toCapsule().get())->value;
}

}  // namespace lorica::model
