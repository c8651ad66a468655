#include "adapters/lora.hpp"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <ATen/ScalarOps.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "base/random.hpp"
#include "model/ops/saved_state.hpp"

namespace lorica::adapters {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct LoraState {
  std::shared_ptr<const quant::StoredWeight> base;
  model::Kept input;
  model::Dropout dropout;
  double scaling;
  at::Tensor a, b;       // in the compute dtype
  at::Tensor projected;  // dropout(x) Aᵀ, [T, r]
  bool has_bias;
};

/// Forward and backward of the adapted layer in one node. Kept: x as its recipe says, and the r numbers a token of
/// the projection; the base weight is read again, never copied.
struct LoraLinear : torch::autograd::Function<LoraLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                            const std::optional<at::Tensor>& bias, const model::Value& value,
                            const std::shared_ptr<const quant::StoredWeight>& base, const model::Dropout& dropout,
                            double scaling) {
    const auto dtype = x.scalar_type();
    LoraState state{base, value.kept(), dropout, scaling, a.to(dtype), b.to(dtype), {}, bias.has_value()};
    state.projected = at::mm(dropout.apply(x), state.a.t());
    auto y = quant::linear(x, *base, bias ? bias->to(dtype) : at::Tensor());
    y.addmm_(state.projected, state.b.t(), 1, scaling);
    model::save_state(ctx, std::move(state));
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto& state = model::saved_state<LoraState>(ctx);
    const auto dy = grads[0].contiguous();
    const auto wide = at::toOpMathType(dy.scalar_type());
    // As a tensor: handed over as a number, ATen would round it to bfloat16 where dy is.
    const auto factor = at::native::wrapped_scalar_tensor(state.scaling);
    const auto projected_grad = at::mm(dy, state.b).mul_(factor);  // [T, r]
    at::Tensor dx, da, db, dbias;
    if (ctx->needs_input_grad(1)) {
      da = at::mm(projected_grad.t(), state.dropout.apply(state.input.get())).to(wide);
    }
    if (ctx->needs_input_grad(2)) db = at::mm(dy.t(), state.projected).to(wide).mul_(factor);
    if (state.has_bias && ctx->needs_input_grad(3)) dbias = dy.sum(0);
    if (ctx->needs_input_grad(0)) {
      dx = quant::linear_backward_input(dy, *state.base);
      if (state.dropout.active()) {
        dx.add_(state.dropout.apply(at::mm(projected_grad, state.a)));
      } else {
        dx.addmm_(projected_grad, state.a);
      }
    }
    return {dx, da, db, dbias, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

double lora_scaling(double alpha, std::int64_t rank, bool rank_stabilized) {
  return alpha / (rank_stabilized ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank));
}

at::Tensor LoraAdapter::forward(const model::Value& x, const std::string& module, const model::BlockWeights& weights,
                                const model::Sequences& sequences) const {
  model::Dropout dropout;
  if (dropout_ > 0 && sequences.dropout) dropout = model::Dropout(sequences.dropout, module_key_, dropout_);
  const auto bias = weights.tensor_or_none(module + ".bias");
  // An undefined tensor is no argument of a custom function; an empty optional is.
  return LoraLinear::apply(
      x.tensor, weights.tensor(module + ".lora_A.weight"), weights.tensor(module + ".lora_B.weight"),
      bias.defined() ? std::optional(bias) : std::nullopt, x, weights.at(module + ".weight").stored, dropout, scaling_);
}

at::Tensor initial_lora_a(std::int64_t rank, std::int64_t in, std::uint64_t key) {
  auto a = at::empty({rank, in}, at::kFloat);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  float* values = a.data_ptr<float>();
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    values[i] = static_cast<float>((2.0 * random_uniform(key, static_cast<std::uint64_t>(i)) - 1.0) * bound);
  }
  return a;
}

at::Tensor lora_delta(const at::Tensor& a, const at::Tensor& b, double scaling) {
  return at::mm(b.to(at::kFloat), a.to(at::kFloat)).mul_(scaling);
}

}  // namespace lorica::adapters
