#include "model/weights.hpp"

#include <torch/csrc/autograd/custom_function.h>

#include "base/error.hpp"
#include "model/ops/saved_state.hpp"

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct BaseLinearState {
  std::shared_ptr<const quant::StoredWeight> weight;
  Kept input;
};

struct BaseLinear : torch::autograd::Function<BaseLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& leaf, const at::Tensor& bias,
                            const Value& value, const std::shared_ptr<const quant::StoredWeight>& weight) {
    save_state(ctx, BaseLinearState{weight, leaf.defined() ? value.kept() : Kept()});
    return quant::linear(x, *weight, bias.defined() ? bias.to(x.scalar_type()) : bias);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto& state = saved_state<BaseLinearState>(ctx);
    const auto grad = grads[0].contiguous();
    at::Tensor dx, dw, db;
    if (ctx->needs_input_grad(0)) dx = quant::linear_backward_input(grad, *state.weight);
    if (ctx->needs_input_grad(1)) dw = at::mm(grad.t(), state.input.get()).to(state.weight->format.dtype);
    if (ctx->needs_input_grad(2)) db = grad.sum(0);
    return {dx, dw, db, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

const Weight& BlockWeights::at(const std::string& name) const {
  const auto found = weights_.find(name);
  ensure(found != weights_.end(), "the block has no parameter '{}'", name);
  return found->second;
}

at::Tensor BlockWeights::tensor(const std::string& name) const {
  const auto& weight = at(name);
  return weight.trained() ? weight.leaf : weight.stored->data;
}

at::Tensor BlockWeights::tensor_or_none(const std::string& name) const {
  return has(name) ? tensor(name) : at::Tensor();
}

at::Tensor BlockWeights::linear(const std::string& module, const Value& x, const Sequences& sequences) const {
  const auto adapter = adapters_.find(module);
  if (adapter != adapters_.end()) return adapter->second->forward(x, module, *this, sequences);
  return base_linear(x, at(module + ".weight"), tensor_or_none(module + ".bias"));
}

at::Tensor base_linear(const Value& x, const Weight& weight, const at::Tensor& bias) {
  return BaseLinear::apply(x.tensor, weight.leaf, bias, x, weight.stored);
}

}  // namespace lorica::model
