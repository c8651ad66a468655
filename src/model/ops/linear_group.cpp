#include "model/ops/linear_group.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.hpp"
#include "model/ops/linear_group_state.hpp"
#include "model/ops/saved_state.hpp"
#include "model/scope.hpp"

namespace lorica::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The tensors that gradients may flow to, in the order of the node's edges: x, then each member's.
struct Edges {
  std::vector<at::Tensor> tensors;

  int add(const at::Tensor& tensor) {
    if (!tensor.defined()) return kNoEdge;
    tensors.push_back(tensor);
    return static_cast<int>(tensors.size()) - 1;
  }
};

GroupState make_state(const Value& x, const std::vector<LinearMember>& members, Edges& edges) {
  GroupState state;
  bool keeps_input = false;
  edges.add(x.tensor);
  for (const auto& member : members) {
    const auto& shape = member.weight.stored->shape;
    ensure(shape.size() == 2 && x.tensor.dim() == 2 && x.tensor.size(1) == shape[1],
           "product of [{}] with a weight of shape [{}]", fmt::join(x.tensor.sizes(), ", "), fmt::join(shape, ", "));
    GroupMember added;
    added.weight = member.weight.stored;
    added.bias = member.bias.defined() ? member.bias.detach() : at::Tensor();
    added.weight_edge = edges.add(member.weight.leaf);
    added.bias_edge = edges.add(member.bias);
    if (member.low_rank) {
      const auto& term = *member.low_rank;
      added.a = term.a.detach().to(x.tensor.scalar_type());
      added.b = term.b.detach().to(x.tensor.scalar_type());
      added.a_edge = edges.add(term.a);
      added.b_edge = edges.add(term.b);
      added.dropout = term.dropout;
      added.scaling = term.scaling;
    }
    keeps_input = keeps_input || added.weight_edge != kNoEdge || added.low_rank();
    state.members.push_back(std::move(added));
  }
  if (keeps_input) state.input = x.kept();
  state.in_kernel = std::all_of(state.members.begin(), state.members.end(),
                                [&](const GroupMember& member) { return quant::has_kernel(x.tensor, *member.weight); });
  return state;
}

struct LinearGroup : torch::autograd::Function<LinearGroup> {
  static variable_list forward(AutogradContext* ctx, at::TensorList edges, GroupState state) {
    const Operation operation("lorica::linear", {edges[0]});
    auto outputs =
        state.in_kernel ? forward_in_kernel(state, edges[0].contiguous()) : forward_composed(state, edges[0]);
    save_state(ctx, std::move(state));
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Operation operation("lorica::linear_backward", {grads[0]});
    const auto& state = saved_state<GroupState>(ctx);
    Wanted wanted;
    wanted.input = ctx->needs_input_grad(0);
    std::size_t edges = 1;
    for (std::size_t i = 0; i < state.members.size(); ++i) {
      const auto& member = state.members[i];
      for (const int edge : {member.weight_edge, member.bias_edge, member.a_edge, member.b_edge}) {
        if (edge == kNoEdge) continue;
        ++edges;
        if (grads[i].defined() && ctx->needs_input_grad(static_cast<std::size_t>(edge))) wanted.edges.insert(edge);
      }
      if (grads[i].defined()) grads[i] = grads[i].contiguous();
    }
    wanted.count = edges;
    auto result = state.in_kernel ? backward_in_kernel(state, grads, wanted) : backward_composed(state, grads, wanted);
    result.resize(edges + 1);  // the state has no gradient
    return result;
  }
};

}  // namespace

std::vector<at::Tensor> linear_group(const Value& x, const std::vector<LinearMember>& members) {
  Edges edges;
  auto state = make_state(x, members, edges);
  return LinearGroup::apply(at::TensorList(edges.tensors), std::move(state));
}

at::Tensor base_linear(const Value& x, const Weight& weight, const at::Tensor& bias) {
  return linear_group(x, {{weight, bias, std::nullopt}}).front();
}

}  // namespace lorica::model
