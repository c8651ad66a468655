// Linear layers composed of ATen operations: any device, any dtype, and the reference of the kernels.
#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <ATen/ScalarOps.h>

#include "model/ops/linear_group_state.hpp"

namespace lorica::model {

std::vector<at::Tensor> forward_composed(GroupState& state, const at::Tensor& x) {
  std::vector<at::Tensor> outputs;
  for (auto& member : state.members) {
    const auto bias = member.bias.defined() ? member.bias.to(x.scalar_type()) : at::Tensor();
    auto y = at::linear(x, quant::dequantize(*member.weight, x.scalar_type()),
                        bias.defined() ? std::optional(bias) : std::nullopt);
    if (member.low_rank()) {
      member.projected = at::mm(member.dropout.apply(x), member.a.t());
      y.addmm_(member.projected, member.b.t(), 1, member.scaling);
    }
    outputs.push_back(std::move(y));
  }
  return outputs;
}

std::vector<at::Tensor> backward_composed(const GroupState& state, const std::vector<at::Tensor>& grads,
                                          const Wanted& wanted) {
  std::vector<at::Tensor> result(wanted.count);
  at::Tensor input;
  const auto kept = [&] { return input.defined() ? input : input = state.input.get(); };
  auto& dx = result[0];
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const auto& member = state.members[i];
    const auto& dy = grads[i];
    if (!dy.defined()) continue;
    const auto dtype = dy.scalar_type(), wide = at::toOpMathType(dtype);
    if (wanted.input) {
      const auto weight = quant::dequantize(*member.weight, dtype);
      if (dx.defined()) {
        dx.addmm_(dy, weight);
      } else {
        dx = at::mm(dy, weight);
      }
    }
    if (wanted.has(member.weight_edge)) {
      result[static_cast<std::size_t>(member.weight_edge)] = at::mm(dy.t(), kept()).to(member.weight->format.dtype);
    }
    if (wanted.has(member.bias_edge)) result[static_cast<std::size_t>(member.bias_edge)] = dy.sum(0);
    if (!member.low_rank()) continue;
    // As a tensor: handed over as a number, ATen would round it to bfloat16 where dy is.
    const auto factor = at::native::wrapped_scalar_tensor(member.scaling);
    const auto projected_grad = at::mm(dy, member.b).mul_(factor);  // [T, r]
    if (wanted.has(member.a_edge)) {
      result[static_cast<std::size_t>(member.a_edge)] =
          at::mm(projected_grad.t(), member.dropout.apply(kept())).to(wide);
    }
    if (wanted.has(member.b_edge)) {
      result[static_cast<std::size_t>(member.b_edge)] = at::mm(dy.t(), member.projected).to(wide).mul_(factor);
    }
    if (wanted.input && member.dropout.active()) {
      member.dropout.add_to(dx, at::mm(projected_grad, member.a));
    } else if (wanted.input) {
      dx.addmm_(projected_grad, member.a);
    }
  }
  return result;
}

}  // namespace lorica::model
