// Gradient clipping by the global norm: see clip.hpp.
#include "optim/clip.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/error.hpp"
#include "kernels/adam.hpp"
#include "optim/kernel_operand.hpp"
#include "optim/scale.hpp"

namespace lorica::optim {
namespace {

constexpr double kNormGuard = 1e-6;  // PyTorch's: keeps the coefficient finite when every gradient is 0

/// The L2 norm of one gradient, a scalar on its device.
at::Tensor tensor_norm(const at::Tensor& gradient) {
  const auto dtype = gradient.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::linalg_vector_norm(gradient, 2.0, std::nullopt, false, dtype);
}

}  // namespace

double squared_gradient_norm(std::span<const TrainableParameter> parameters) {
  const at::NoGradGuard no_graph;
  std::map<std::pair<std::string, at::ScalarType>, std::vector<at::Tensor>> norms;  // those that can be stacked
  std::vector<kernels::FloatSpan> in_kernel;
  for (const auto& parameter : parameters) {
    if (!parameter.gradient.defined()) continue;
    if (kernels_take(parameter.gradient)) {
      in_kernel.push_back({parameter.gradient.const_data_ptr<float>(), parameter.gradient.numel()});
      continue;
    }
    auto norm = tensor_norm(parameter.gradient);
    norms[{norm.device().str(), norm.scalar_type()}].push_back(std::move(norm));
  }
  std::vector<double> sums(in_kernel.size());
  kernels::squares(in_kernel, sums);
  double total = std::accumulate(sums.begin(), sums.end(), 0.0);
  for (const auto& group : norms) {
    // To the host first: not every device has float64.
    total += at::stack(group.second).to(at::kCPU).to(at::kDouble).square().sum().item<double>();
  }
  return total;
}

std::string first_non_finite(std::span<const TrainableParameter> parameters) {
  const at::NoGradGuard no_graph;
  const auto found = std::find_if(parameters.begin(), parameters.end(), [](const TrainableParameter& parameter) {
    return parameter.gradient.defined() && !at::isfinite(parameter.gradient).all().item<bool>();
  });
  return found == parameters.end() ? "" : found->name;
}

void scale_gradients(std::span<TrainableParameter> parameters, double norm, double max_norm) {
  const at::NoGradGuard no_graph;
  const double coefficient = max_norm / (norm + kNormGuard);
  if (coefficient >= 1.0) return;
  for (auto& parameter : parameters) {
    if (parameter.gradient.defined()) scale(parameter.gradient, coefficient);
  }
}

void raise_non_finite(const std::string& name, double norm) {
  if (name.empty()) {
    raise<TrainingError>(
        "the gradient norm overflows float32 though every gradient is finite: lower the learning rate "
        "or scale the loss down");
  }
  raise<TrainingError>(
      "the gradient of '{}' holds an infinity or NaN (gradient norm {}): this update is not applied. "
      "Lower the learning rate, or check the data of this step",
      name, norm);
}

}  // namespace lorica::optim
