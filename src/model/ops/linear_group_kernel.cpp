// Linear layers by kernels/gemm.hpp, float32 on the CPU. Layers that share an input are one product of blocks: the
// input is packed once in forward, their gradients meet in one sum in backward, and low-rank terms ride along as
// further blocks, so that no output is read and written again for them.
#include <ATen/ATen.h>

#include <algorithm>

#include "model/ops/linear_group_state.hpp"

namespace lorica::model {
namespace {

using kernels::BlockProduct;
using kernels::MatrixSource;
using quant::KernelWeight;
using quant::matrix_of;

std::vector<KernelWeight> weights_of(const GroupState& state) {
  std::vector<KernelWeight> weights;
  for (const auto& member : state.members) weights.push_back(quant::kernel_weight(*member.weight));
  return weights;
}

float* data_of(const at::Tensor& tensor) {
  return tensor.data_ptr<float>();
}

/// aᵀ b, float32 [columns of a, columns of b].
at::Tensor transposed_product(const at::Tensor& a, const at::Tensor& b) {
  auto c = at::empty({a.size(1), b.size(1)}, b.options());
  kernels::gemm(transposed(matrix_of(a)), matrix_of(b), 0, data_of(c), c.size(1));
  return c;
}

/// Memory for the gradients of the members' projections, [T, r] each: s · dy B, as slices of one tensor, so that
/// members that share an input can also share a product with it.
struct ProjectionGradients {
  at::Tensor all;                 ///< [T, sum of ranks]; undefined if there is no low-rank term
  std::vector<at::Tensor> parts;  ///< by member; undefined where there is none
};

ProjectionGradients empty_projection_gradients(const GroupState& state, const std::vector<at::Tensor>& grads) {
  ProjectionGradients result;
  std::int64_t ranks = 0, tokens = 0;
  const auto has_one = [&](std::size_t i) { return grads[i].defined() && state.members[i].low_rank(); };
  for (std::size_t i = 0; i < grads.size(); ++i) {
    if (!has_one(i)) continue;
    ranks += state.members[i].a.size(0);
    tokens = grads[i].size(0);
  }
  result.parts.resize(grads.size());
  if (ranks == 0) return result;
  result.all = at::empty({tokens, ranks}, at::kFloat);
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < grads.size(); ++i) {
    if (!has_one(i)) continue;
    const auto rank = state.members[i].a.size(0);
    result.parts[i] = result.all.narrow(1, begin, rank);
    begin += rank;
  }
  return result;
}

/// Makes the projections' gradients and, if `dx` is defined, the input's: Σ dy W + (s · dy B) A, in one product. A
/// dropped term is added to dx by itself.
void multiply_gradients(const GroupState& state, const std::vector<at::Tensor>& grads,
                        const ProjectionGradients& projections, const at::Tensor& dx) {
  const bool wants_input = dx.defined();
  const auto weights = wants_input ? weights_of(state) : std::vector<KernelWeight>();
  BlockProduct product;
  BlockProduct::Column input;
  const auto add = [&](const at::Tensor& a, const MatrixSource& b) {
    product.a.push_back(matrix_of(a));
    input.b.push_back(b);
  };
  const auto feeds = [&](std::size_t i) {
    return wants_input && projections.parts[i].defined() && !state.members[i].dropout.active();
  };
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const bool is_projected = projections.parts[i].defined();
    if (!grads[i].defined() || !(wants_input || is_projected)) continue;
    add(grads[i], wants_input ? weights[i].source : MatrixSource());
    if (!is_projected) continue;
    std::vector<MatrixSource> blocks(product.a.size());
    blocks.back() = matrix_of(state.members[i].b);
    const auto& part = projections.parts[i];
    product.columns.push_back({.b = std::move(blocks),
                               .c = data_of(part),
                               .stride = part.stride(0),
                               .alpha = static_cast<float>(state.members[i].scaling),
                               .feeds = feeds(i)});
  }
  product.given = product.a.size();
  for (std::size_t i = 0; i < grads.size(); ++i) {
    if (feeds(i)) add(projections.parts[i], matrix_of(state.members[i].a));
  }
  if (wants_input) {
    input.c = data_of(dx);
    input.stride = dx.size(1);
    product.columns.push_back(std::move(input));
  }
  if (product.columns.empty()) return;
  for (auto& column : product.columns) column.b.resize(product.a.size());
  kernels::gemm(product);
  for (std::size_t i = 0; i < grads.size() && wants_input; ++i) {
    const auto& member = state.members[i];
    if (!projections.parts[i].defined() || !member.dropout.active()) continue;
    auto part = at::empty_like(dx);
    kernels::gemm(matrix_of(projections.parts[i]), matrix_of(member.a), 0, data_of(part), part.size(1));
    member.dropout.add_to(dx, part);
  }
}

at::Tensor empty_input_gradient(const GroupState& state, const std::vector<at::Tensor>& grads) {
  const auto one = std::find_if(grads.begin(), grads.end(), [](const at::Tensor& grad) { return grad.defined(); });
  return at::empty({one == grads.end() ? 0 : one->size(0), state.members.front().weight->shape[1]}, at::kFloat);
}

/// dA = (s · dy B)ᵀ dropout(x), all that read the same x in one product.
void add_a_gradients(const GroupState& state, const ProjectionGradients& projections, const at::Tensor& x,
                     const Wanted& wanted, std::vector<at::Tensor>& result) {
  at::Tensor together;
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < state.members.size(); ++i) {
    const auto& member = state.members[i];
    const auto& part = projections.parts[i];
    if (!part.defined()) continue;
    if (wanted.has(member.a_edge)) {
      auto& target = result[static_cast<std::size_t>(member.a_edge)];
      if (member.dropout.active()) {
        target = transposed_product(part, member.dropout.apply(x));
      } else {
        if (!together.defined()) together = transposed_product(projections.all, x);
        target = together.narrow(0, begin, part.size(1));
      }
    }
    begin += part.size(1);
  }
}

}  // namespace

std::vector<at::Tensor> forward_in_kernel(GroupState& state, const at::Tensor& x) {
  const auto weights = weights_of(state);
  BlockProduct product{{matrix_of(x)}, {}};
  std::vector<std::size_t> terms(state.members.size());  // which operand a member's projection s · dropout(x) Aᵀ is
  const auto add_projections = [&](bool dropped) {
    for (std::size_t i = 0; i < state.members.size(); ++i) {
      auto& member = state.members[i];
      if (!member.low_rank() || member.dropout.active() != dropped) continue;
      member.projected = at::empty({x.size(0), member.a.size(0)}, x.options());
      BlockProduct::Column column{.b = {transposed(matrix_of(member.a))},
                                  .c = data_of(member.projected),
                                  .stride = member.a.size(0),
                                  .alpha = static_cast<float>(member.scaling),
                                  .feeds = !dropped};
      if (dropped) {
        const auto input = member.dropout.apply(x);
        kernels::gemm(BlockProduct{{matrix_of(input)}, {column}});
      } else {
        product.columns.push_back(std::move(column));
      }
      terms[i] = product.a.size();
      product.a.push_back(matrix_of(member.projected));
    }
  };
  add_projections(true);
  product.given = product.a.size();
  add_projections(false);
  std::vector<at::Tensor> outputs, biases;
  for (std::size_t i = 0; i < state.members.size(); ++i) {
    const auto& member = state.members[i];
    const auto out = member.weight->shape[0];
    auto y = at::empty({x.size(0), out}, x.options());
    if (member.bias.defined()) biases.push_back(member.bias.to(at::kFloat).contiguous());
    std::vector<MatrixSource> blocks(product.a.size());
    blocks[0] = transposed(weights[i].source);
    if (member.low_rank()) blocks[terms[i]] = transposed(matrix_of(member.b));
    product.columns.push_back({.b = std::move(blocks),
                               .c = data_of(y),
                               .stride = out,
                               .bias = member.bias.defined() ? data_of(biases.back()) : nullptr});
    outputs.push_back(std::move(y));
  }
  for (auto& column : product.columns) column.b.resize(product.a.size());
  kernels::gemm(product);
  return outputs;
}

std::vector<at::Tensor> backward_in_kernel(const GroupState& state, const std::vector<at::Tensor>& grads,
                                           const Wanted& wanted) {
  std::vector<at::Tensor> result(wanted.count);
  bool trains_a = false, trains_weight = false;
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const auto& member = state.members[i];
    trains_a = trains_a || wanted.has(member.a_edge);
    trains_weight = trains_weight || wanted.has(member.weight_edge);
  }
  ProjectionGradients projections;
  projections.parts.resize(grads.size());
  if (wanted.input || trains_a) {
    projections = empty_projection_gradients(state, grads);
    if (wanted.input) result[0] = empty_input_gradient(state, grads);
    multiply_gradients(state, grads, projections, result[0]);
  }
  const auto x = trains_a || trains_weight ? state.input.get().contiguous() : at::Tensor();
  if (trains_a) add_a_gradients(state, projections, x, wanted, result);
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const auto& member = state.members[i];
    const auto target = [&](int edge) -> at::Tensor& { return result[static_cast<std::size_t>(edge)]; };
    if (wanted.has(member.weight_edge)) {
      target(member.weight_edge) = transposed_product(grads[i], x).to(member.weight->format.dtype);
    }
    if (wanted.has(member.bias_edge)) target(member.bias_edge) = grads[i].sum(0);
    // Turned: the wide factor is then read along its rows.
    if (wanted.has(member.b_edge)) {
      target(member.b_edge) = transposed_product(member.projected, grads[i]).t().contiguous();
    }
  }
  return result;
}

}  // namespace lorica::model
