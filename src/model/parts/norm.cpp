#include "model/parts/norm.hpp"

#include <ATen/ATen.h>

namespace lorica::model {

Norm::Norm(const NormSpec& spec, int64_t size, const std::string& prefix)
    : spec_(spec), size_(size), weight_(prefix + spec.name + ".weight"), bias_(prefix + spec.name + ".bias") {}

void Norm::describe(std::vector<ParameterSpec>& parameters) const {
  const double neutral = spec_.kind == NormKind::rms_plus_one ? 0 : 1;
  parameters.push_back({weight_, "", {size_}, Role::norm, false, neutral});
  if (spec_.bias) parameters.push_back({bias_, "", {size_}, Role::bias, false, 0});
}

Value Norm::forward(const at::Tensor& x, const BlockWeights& weights, const Keeping& keeping) const {
  if (spec_.kind == NormKind::layer) return layer_norm(x, weights, keeping);
  return rms_norm(x, weights.tensor(weight_), rule(), keeping.selective);
}

Branch Norm::add(const at::Tensor& x, const at::Tensor& change, const BlockWeights& weights,
                 const Keeping& keeping) const {
  if (spec_.kind == NormKind::layer) {
    const auto stream = change.defined() ? residual_sum(x, change) : x;
    return {stream, layer_norm(stream, weights, keeping)};
  }
  return add_rms_norm(x, change, weights.tensor(weight_), rule(), keeping.selective);
}

Value Norm::layer_norm(const at::Tensor& x, const BlockWeights& weights, const Keeping& keeping) const {
  const auto normalize = [size = size_, eps = spec_.eps](const at::Tensor& in, const at::Tensor& weight,
                                                         const at::Tensor& bias) {
    const auto as_input = [&](const at::Tensor& one) {
      return one.defined() ? std::optional(one.to(in.scalar_type())) : std::nullopt;
    };
    return at::layer_norm(in, {size}, as_input(weight), as_input(bias), eps);
  };
  const auto weight = weights.tensor(weight_), bias = weights.tensor_or_none(bias_);
  Value result{normalize(x, weight, bias), {}};
  if (keeping.selective) {
    result.recipe = [normalize, x = x.detach(), weight = weight.detach(),
                     bias = bias.defined() ? bias.detach() : bias] { return normalize(x, weight, bias); };
  }
  return result;
}

}  // namespace lorica::model
