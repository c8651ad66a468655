#include "model/weights.hpp"

#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "base/error.hpp"
#include "model/ops/saved_state.hpp"

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// LibTorch's custom functions can't take an undefined tensor, but take an empty optional; such an argument has no edge
// in the graph, so that the bias is edge 2 behind a trained weight and edge 1 otherwise.
using MaybeTensor = std::optional<at::Tensor>;

MaybeTensor maybe(const at::Tensor& tensor) {
  return tensor.defined() ? MaybeTensor(tensor) : std::nullopt;
}

struct BaseLinearState {
  std::shared_ptr<const quant::StoredWeight> weight;
  Kept input;
  bool trains_weight, has_bias;
};

struct BaseLinear : torch::autograd::Function<BaseLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const MaybeTensor& leaf, const MaybeTensor& bias,
                            const Value& value, const std::shared_ptr<const quant::StoredWeight>& weight) {
    save_state(ctx, BaseLinearState{weight, leaf ? value.kept() : Kept(), leaf.has_value(), bias.has_value()});
    return quant::linear(x, *weight, bias ? bias->to(x.scalar_type()) : at::Tensor());
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto& state = saved_state<BaseLinearState>(ctx);
    const auto grad = grads[0].contiguous();
    at::Tensor dx, dw, db;
    if (ctx->needs_input_grad(0)) dx = quant::linear_backward_input(grad, *state.weight);
    if (state.trains_weight && ctx->needs_input_grad(1)) {
      dw = at::mm(grad.t(), state.input.get()).to(state.weight->format.dtype);
    }
    if (state.has_bias && ctx->needs_input_grad(state.trains_weight ? 2 : 1)) db = grad.sum(0);
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
  return BaseLinear::apply(x.tensor, maybe(weight.leaf), maybe(bias), x, weight.stored);
}

}  // namespace lorica::model
