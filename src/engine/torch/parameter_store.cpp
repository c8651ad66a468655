#include "engine/torch/parameter_store.hpp"

#include <ATen/ATen.h>

#include "base/error.hpp"

namespace lorica::engine {

at::Tensor owned(at::Tensor gradient) {
  if (gradient.is_contiguous() && gradient.storage().use_count() == 1) return gradient;
  return gradient.contiguous().clone();
}

ResidentStore::ResidentStore(std::vector<Parameter> parameters, std::vector<BlockLayout> layouts)
    : parameters_(std::move(parameters)), layouts_(std::move(layouts)) {
  leaves_.resize(parameters_.size());
  gradients_.resize(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    positions_[parameters_[i].name] = i;
    // The leaf shares memory with the stored tensor, so the optimizer's in-place update reaches both.
    if (parameters_[i].trained) leaves_[i] = parameters_[i].stored->data.detach().requires_grad_(true);
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

std::vector<optim::TrainableParameter> ResidentStore::trainable() {
  std::vector<optim::TrainableParameter> result;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].trained) {
      result.push_back({parameters_[i].name, parameters_[i].stored->data, gradients_[i], true});
    }
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
  return parameters_[index_of(name)].stored->data;
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
