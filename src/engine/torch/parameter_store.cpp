#include "engine/torch/parameter_store.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"

namespace lorica::engine {

at::Tensor owned(at::Tensor gradient) {
  if (gradient.is_contiguous() && gradient.storage().use_count() == 1) return gradient;
  return gradient.contiguous().clone();
}

void ParameterStore::add_row_gradients(std::size_t block, const std::string& local_name, const at::Tensor& ids,
                                       const at::Tensor& rows, std::int64_t all_rows) {
  add_gradient(block, local_name, at::embedding_dense_backward(rows, ids, all_rows, -1, false));
}

void ParameterStore::hand_over(std::function<void(optim::TrainableParameter&)>) {
  throw Error("internal error: this store hands no gradients over");
}

ResidentStore::ResidentStore(std::vector<Parameter> parameters, std::vector<BlockLayout> layouts)
    : parameters_(std::move(parameters)), layouts_(std::move(layouts)) {
  leaves_.resize(parameters_.size());
  first_user_.resize(parameters_.size(), layouts_.size());
  gradients_.resize(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    positions_[parameters_[i].name] = i;
    // The leaf shares memory with the stored tensor, so the optimizer's in-place update reaches both.
    if (parameters_[i].trained) leaves_[i] = parameters_[i].stored->data().detach().requires_grad_(true);
  }
  for (std::size_t block = layouts_.size(); block-- > 0;) {
    for (const auto& [local, name] : layouts_[block].parameters) first_user_[index_of(name)] = block;
  }
}

std::size_t ResidentStore::index_of(const std::string& name) const {
  const auto found = positions_.find(name);
  ensure(found != positions_.end(), "no parameter '{}' is stored", name);
  return found->second;
}

model::BlockWeights ResidentStore::acquire(std::size_t block) {
  model::BlockWeights weights;
  const auto& layout = layouts_.at(block);
  for (const auto& [local, name] : layout.parameters) {
    const auto i = index_of(name);
    weights.add(local, {parameters_[i].stored, leaves_[i]});
  }
  for (const auto& [module, adapter] : layout.adapters) weights.set_adapter(module, adapter);
  return weights;
}

void ResidentStore::add_gradient(std::size_t block, const std::string& local_name, at::Tensor gradient) {
  auto& sum = gradients_[index_of(layouts_.at(block).parameters.at(local_name))];
  if (sum.defined()) {
    sum.add_(gradient);
  } else {
    sum = owned(std::move(gradient));
  }
}

/// Into the sum that is there, a head's of the same size: no second one is made.
void ResidentStore::add_row_gradients(std::size_t block, const std::string& local_name, const at::Tensor& ids,
                                      const at::Tensor& rows, std::int64_t all_rows) {
  auto& sum = gradients_[index_of(layouts_.at(block).parameters.at(local_name))];
  if (!sum.defined() || !sum.is_cpu()) return ParameterStore::add_row_gradients(block, local_name, ids, rows, all_rows);
  sum.index_add_(0, ids, rows);
}

void ResidentStore::gradients_added(std::size_t block, bool last) {
  if (!last || !taker_) return;
  for (const auto& [local, name] : layouts_.at(block).parameters) {
    const auto i = index_of(name);
    if (!gradients_[i].defined() || first_user_[i] != block) continue;
    auto parameter = trainable(i);
    gradients_[i].reset();
    taker_(parameter);
  }
}

bool ResidentStore::better_later(std::size_t block, const std::string& local_name) const {
  const auto i = index_of(layouts_.at(block).parameters.at(local_name));
  return taker_ && parameters_[i].trained && first_user_[i] < block && !gradients_[i].defined();
}

optim::TrainableParameter ResidentStore::trainable(std::size_t position) const {
  return {parameters_[position].name, parameters_[position].stored->data(), gradients_[position], true};
}

std::vector<optim::TrainableParameter> ResidentStore::trainable() {
  std::vector<optim::TrainableParameter> result;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].trained) result.push_back(trainable(i));
  }
  return result;
}

void ResidentStore::set_gradient(const std::string& name, at::Tensor gradient) {
  gradients_[index_of(name)] = std::move(gradient);
}

Rows ResidentStore::rows(const std::string& name) const {
  return {0, parameters_[index_of(name)].stored->shape.at(0)};
}

at::Tensor ResidentStore::whole(const std::string& name) {
  return parameters_[index_of(name)].stored->data();
}

StoreBytes ResidentStore::bytes() const {
  StoreBytes bytes;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    (parameters_[i].trained ? bytes.trained : bytes.weights) += parameters_[i].stored->bytes();
    if (gradients_[i].defined()) bytes.gradients += gradients_[i].nbytes();
  }
  return bytes;
}

void ResidentStore::clear_gradients() {
  for (auto& gradient : gradients_) gradient.reset();
}

}  // namespace lorica::engine
