// Optimizers: see optimizer.hpp. The update rules follow torch.optim (adam.py, sgd.py, adadelta.py) in their
// arithmetic.
#include "optim/optimizer.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "kernels/adam.hpp"
#include "optim/kernel_operand.hpp"
#include "optim/scale.hpp"

namespace lorica::optim {
namespace {

using Slots = std::vector<at::Tensor>;

void update_adam(const OptimizerOptions& o, TrainableParameter& parameter, Slots& slots, int64_t steps, double rate) {
  auto& value = parameter.value;
  auto gradient = parameter.gradient;
  const double decay = parameter.decay ? o.weight_decay : 0.0;
  if (decay != 0.0 && o.type == OptimizerKind::adamw) scale(value, 1.0 - rate * decay);
  if (decay != 0.0 && o.type == OptimizerKind::adam) gradient = gradient.add(value, decay);

  auto& mean = slots[0];
  auto& square = slots[1];
  mean.lerp_(gradient, 1.0 - o.beta1);
  scale(square, o.beta2).addcmul_(gradient, gradient, 1.0 - o.beta2);

  const auto t = static_cast<double>(steps);
  const double step_size = rate / (1.0 - std::pow(o.beta1, t));
  const double square_correction = std::sqrt(1.0 - std::pow(o.beta2, t));
  const auto denominator = square.sqrt().div_(square_correction).add_(o.epsilon);
  value.addcdiv_(mean, denominator, -step_size);
}

/// Whether kernels/adam.hpp does it.
bool has_kernel(const OptimizerOptions& o, const TrainableParameter& parameter) {
  return (o.type == OptimizerKind::adamw || o.type == OptimizerKind::adam) && kernels_take(parameter.value) &&
         kernels_take(parameter.gradient);
}

kernels::AdamTensor kernel_update(const OptimizerOptions& o, TrainableParameter& parameter, Slots& slots, int64_t steps,
                                  double rate) {
  const double decay = parameter.decay ? o.weight_decay : 0.0, t = static_cast<double>(steps);
  kernels::AdamStep step;
  step.keep = static_cast<float>(o.type == OptimizerKind::adamw ? 1.0 - rate * decay : 1.0);
  step.l2 = static_cast<float>(o.type == OptimizerKind::adam ? decay : 0.0);
  step.mean_weight = static_cast<float>(1.0 - o.beta1);
  step.square_keep = static_cast<float>(o.beta2);
  step.square_weight = static_cast<float>(1.0 - o.beta2);
  step.root_correction = static_cast<float>(std::sqrt(1.0 - std::pow(o.beta2, t)));
  step.epsilon = static_cast<float>(o.epsilon);
  step.step_size = static_cast<float>(rate / (1.0 - std::pow(o.beta1, t)));
  return {parameter.value.data_ptr<float>(),          slots[0].data_ptr<float>(), slots[1].data_ptr<float>(),
          parameter.gradient.const_data_ptr<float>(), parameter.value.numel(),    step};
}

void update_sgd(const OptimizerOptions& o, TrainableParameter& parameter, Slots& slots, double rate) {
  auto gradient = parameter.gradient;
  if (parameter.decay && o.weight_decay != 0.0) gradient = gradient.add(parameter.value, o.weight_decay);
  if (!slots.empty()) {
    scale(slots[0], o.momentum).add_(gradient);  // starts at 0, so the first update is the plain gradient
    gradient = slots[0];
  }
  parameter.value.add_(gradient, -rate);
}

void update_adadelta(const OptimizerOptions& o, TrainableParameter& parameter, Slots& slots, double rate) {
  auto gradient = parameter.gradient;
  if (parameter.decay && o.weight_decay != 0.0) gradient = gradient.add(parameter.value, o.weight_decay);
  auto& square = slots[0];
  auto& deltas = slots[1];
  scale(square, o.rho).addcmul_(gradient, gradient, 1.0 - o.rho);
  const auto deviation = square.add(o.epsilon).sqrt_();
  auto delta = deltas.add(o.epsilon).sqrt_().div_(deviation).mul_(gradient);
  scale(deltas, o.rho).addcmul_(delta, delta, 1.0 - o.rho);
  parameter.value.add_(delta, -rate);
}

void update(const OptimizerOptions& o, TrainableParameter& parameter, Slots& slots, int64_t steps, double rate) {
  switch (o.type) {
    case OptimizerKind::adamw:
    case OptimizerKind::adam:
      return update_adam(o, parameter, slots, steps, rate);
    case OptimizerKind::sgd:
      return update_sgd(o, parameter, slots, rate);
    case OptimizerKind::adadelta:
      return update_adadelta(o, parameter, slots, rate);
  }
}

void check_range(const char* option, double value, bool fits, const char* expected) {
  if (!fits || !std::isfinite(value)) raise<ConfigError>("{} is {}: it must be {}", option, value, expected);
}

std::string shape_text(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

/// `tensor` itself where nobody else holds it and it is of the value's kind; else a copy that is.
at::Tensor own(at::Tensor tensor, const at::Tensor& value) {
  const bool alone = tensor.use_count() == 1 && tensor.storage().use_count() == 1 && tensor.is_contiguous();
  const bool alike = tensor.scalar_type() == value.scalar_type() && tensor.device() == value.device();
  return alone && alike ? tensor : at::empty_like(value).copy_(tensor);
}

}  // namespace

OptimizerOptions OptimizerOptions::defaults(OptimizerKind type) {
  OptimizerOptions options;
  options.type = type;
  if (type == OptimizerKind::adamw) options.weight_decay = 0.01;
  if (type == OptimizerKind::adadelta) options.epsilon = 1e-6;
  return options;
}

void check_optimizer(const OptimizerOptions& o) {
  check_range("wd", o.weight_decay, o.weight_decay >= 0.0, "0 or more");
  if (o.type == OptimizerKind::adamw || o.type == OptimizerKind::adam) {
    check_range("beta1", o.beta1, o.beta1 >= 0.0 && o.beta1 < 1.0, "at least 0 and below 1");
    check_range("beta2", o.beta2, o.beta2 >= 0.0 && o.beta2 < 1.0, "at least 0 and below 1");
  }
  if (o.type == OptimizerKind::sgd) {
    check_range("momentum", o.momentum, o.momentum >= 0.0, "0 or more");
    return;
  }
  if (o.type == OptimizerKind::adadelta) {
    check_range("rho", o.rho, o.rho >= 0.0 && o.rho <= 1.0, "between 0 and 1");
  }
  check_range("eps", o.epsilon, o.epsilon >= 0.0, "0 or more");
}

std::vector<std::string> slot_names(const OptimizerOptions& options) {
  switch (options.type) {
    case OptimizerKind::adamw:
    case OptimizerKind::adam:
      return {"exp_avg", "exp_avg_sq"};
    case OptimizerKind::sgd:
      return options.momentum != 0.0 ? std::vector<std::string>{"momentum_buffer"} : std::vector<std::string>{};
    case OptimizerKind::adadelta:
      return {"square_avg", "acc_delta"};
  }
  raise<Error>("internal error: unknown optimizer");
}

Optimizer::Optimizer(const OptimizerOptions& options) : options_(options) {
  check_optimizer(options_);
}

Optimizer::ParameterState& Optimizer::state_of(const std::string& name) {
  const auto [entry, is_new] = positions_.try_emplace(name, states_.size());
  if (is_new) states_.push_back({name, 0, {}});
  return states_[entry->second];
}

void Optimizer::step(std::span<TrainableParameter> parameters, double rate) {
  const at::NoGradGuard no_graph;
  const auto slots = slot_names(options_).size();
  std::vector<kernels::AdamTensor> in_kernel;
  for (auto& parameter : parameters) {
    auto& state = state_of(parameter.name);
    if (!parameter.gradient.defined()) continue;
    ensure(parameter.gradient.sizes() == parameter.value.sizes(), "gradient of {} is {}, its value {}", parameter.name,
           shape_text(parameter.gradient), shape_text(parameter.value));
    while (state.slots.size() < slots) state.slots.push_back(at::zeros_like(parameter.value));
    ++state.steps;
    if (has_kernel(options_, parameter)) {
      in_kernel.push_back(kernel_update(options_, parameter, state.slots, state.steps, rate));
    } else {
      update(options_, parameter, state.slots, state.steps, rate);
    }
  }
  kernels::adam_update(in_kernel);
}

OptimizerState Optimizer::state() const {
  OptimizerState result;
  const auto names = slot_names(options_);
  for (const auto& state : states_) {
    result.steps.emplace_back(state.name, state.steps);
    for (std::size_t slot = 0; slot < state.slots.size(); ++slot) {
      result.tensors.emplace_back(state.name + "." + names[slot], state.slots[slot]);
    }
  }
  return result;
}

void Optimizer::load_state(OptimizerState state, std::span<const TrainableParameter> parameters) {
  const at::NoGradGuard no_graph;
  const bool empty = state.steps.empty() && state.tensors.empty();
  std::map<std::string, at::Tensor> tensors(std::make_move_iterator(state.tensors.begin()),
                                            std::make_move_iterator(state.tensors.end()));
  std::map<std::string, int64_t> steps(state.steps.begin(), state.steps.end());
  Optimizer loaded(options_);
  for (const auto& parameter : parameters) {
    if (empty) break;
    const auto found = steps.extract(parameter.name);
    if (found.empty()) raise<ModelError>("optimizer state: nothing saved for trained tensor '{}'", parameter.name);
    auto& target = loaded.state_of(parameter.name);
    target.steps = found.mapped();
    if (target.steps == 0) continue;
    for (const auto& slot : slot_names(options_)) {
      const auto key = parameter.name + "." + slot;
      auto tensor = tensors.extract(key);
      if (tensor.empty()) {
        raise<ModelError>("optimizer state: '{}' is missing. Was it saved by an optimizer other than {}?", key,
                          config::name_of(options_.type));
      }
      if (tensor.mapped().sizes() != parameter.value.sizes()) {
        raise<ModelError>("optimizer state: '{}' has shape {}, but the tensor it belongs to {}", key,
                          shape_text(tensor.mapped()), shape_text(parameter.value));
      }
      target.slots.push_back(own(std::move(tensor.mapped()), parameter.value));
    }
  }
  if (!steps.empty()) {
    raise<ModelError>("optimizer state: '{}' is not trained in this run", steps.begin()->first);
  }
  if (!tensors.empty()) {
    raise<ModelError>("optimizer state: '{}' is of no use to optimizer {}", tensors.begin()->first,
                      config::name_of(options_.type));
  }
  *this = std::move(loaded);
}

int64_t Optimizer::memory_bytes() const {
  int64_t bytes = 0;
  for (const auto& state : states_) {
    for (const auto& tensor : state.slots) bytes += static_cast<int64_t>(tensor.nbytes());
  }
  return bytes;
}

}  // namespace lorica::optim
