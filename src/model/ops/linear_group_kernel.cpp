// Linear layers by kernels/gemm.hpp, float32 on the CPU. Layers that share an input are one product of blocks: the
// input is packed once in forward, their gradients meet in one sum in backward, and low-rank terms ride along as
// further blocks, so that no output is read and written again for them.
#include <ATen/ATen.h>

#include <optional>

#include "model/ops/linear_group_state.hpp"

namespace lorica::model {
namespace {

using kernels::BlockProduct;
using kernels::MatrixSource;
using quant::KernelWeight;
using quant::matrix_of;

std::vector<KernelWeight> weights_of(const GroupState& state) {
  std::vector<KernelWeight> weights;
  for (const auto& member : state.members) weights.emplace_back(*member.weight);
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

/// Sets every member's projection s · dropout(x) Aᵀ.
void project(GroupState& state, const at::Tensor& x) {
  BlockProduct together{{matrix_of(x)}, {}};
  for (auto& member : state.members) {
    if (!member.low_rank()) continue;
    member.projected = at::empty({x.size(0), member.a.size(0)}, x.options());
    const auto a = transposed(matrix_of(member.a));
    const auto rank = member.a.size(0);
    if (member.dropout.active()) {
      const auto dropped = member.dropout.apply(x);
      kernels::gemm(matrix_of(dropped), a, 0, data_of(member.projected), rank);
    } else {
      together.columns.push_back({{a}, data_of(member.projected), rank, 0, nullptr});
    }
  }
  kernels::gemm(together);
  for (auto& member : state.members) {
    if (member.low_rank()) member.projected.mul_(member.scaling);
  }
}

/// The gradients of the members' projections, [T, r] each: s · dy B, as slices of one tensor, so that members that
/// share an input can also share a product with it.
struct ProjectionGradients {
  at::Tensor all;                 ///< [T, sum of ranks]; undefined if there is no low-rank term
  std::vector<at::Tensor> parts;  ///< by member; undefined where there is none
};

ProjectionGradients projection_gradients(const GroupState& state, const std::vector<at::Tensor>& grads) {
  ProjectionGradients result;
  std::int64_t ranks = 0, tokens = 0;
  for (std::size_t i = 0; i < grads.size(); ++i) {
    if (!grads[i].defined() || !state.members[i].low_rank()) continue;
    ranks += state.members[i].a.size(0);
    tokens = grads[i].size(0);
  }
  result.parts.resize(grads.size());
  if (ranks == 0) return result;
  result.all = at::empty({tokens, ranks}, at::kFloat);
  BlockProduct product;
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < grads.size(); ++i) {
    if (!grads[i].defined() || !state.members[i].low_rank()) continue;
    const auto rank = state.members[i].a.size(0);
    result.parts[i] = result.all.narrow(1, begin, rank);
    begin += rank;
    std::vector<MatrixSource> blocks(product.a.size());
    blocks.push_back(matrix_of(state.members[i].b));
    product.a.push_back(matrix_of(grads[i]));
    product.columns.push_back({std::move(blocks), data_of(result.parts[i]), ranks, 0, nullptr});
  }
  for (auto& column : product.columns) column.b.resize(product.a.size());
  kernels::gemm(product);
  for (std::size_t i = 0; i < grads.size(); ++i) {
    if (result.parts[i].defined()) result.parts[i].mul_(state.members[i].scaling);
  }
  return result;
}

/// dx = Σ dy W + (s · dy B) A, where a dropped term is added by itself.
at::Tensor input_gradient(const GroupState& state, const std::vector<at::Tensor>& grads,
                          const ProjectionGradients& projections) {
  const auto weights = weights_of(state);
  BlockProduct product;
  BlockProduct::Column column;
  const auto add = [&](const at::Tensor& a, const MatrixSource& b) {
    product.a.push_back(matrix_of(a));
    column.b.push_back(b);
  };
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < grads.size(); ++i) {
    if (!grads[i].defined()) continue;
    tokens = grads[i].size(0);
    add(grads[i], weights[i].source);
  }
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const auto& member = state.members[i];
    if (projections.parts[i].defined() && !member.dropout.active()) add(projections.parts[i], matrix_of(member.a));
  }
  auto dx = at::empty({tokens, state.members.front().weight->shape[1]}, at::kFloat);
  column.c = data_of(dx);
  column.stride = dx.size(1);
  product.columns.push_back(std::move(column));
  kernels::gemm(product);
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const auto& member = state.members[i];
    if (!projections.parts[i].defined() || !member.dropout.active()) continue;
    auto part = at::empty_like(dx);
    kernels::gemm(matrix_of(projections.parts[i]), matrix_of(member.a), 0, data_of(part), part.size(1));
    dx.add_(member.dropout.apply(part));
  }
  return dx;
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
  project(state, x);
  const auto weights = weights_of(state);
  std::vector<at::Tensor> outputs, biases;
  BlockProduct product{{matrix_of(x)}, {}};
  for (std::size_t i = 0; i < state.members.size(); ++i) {
    const auto& member = state.members[i];
    const auto out = member.weight->shape[0];
    auto y = at::empty({x.size(0), out}, x.options());
    if (member.bias.defined()) biases.push_back(member.bias.to(at::kFloat).contiguous());
    std::vector<MatrixSource> blocks(product.a.size());
    blocks[0] = transposed(weights[i].source);
    if (member.low_rank()) {
      product.a.push_back(matrix_of(member.projected));
      blocks.push_back(transposed(matrix_of(member.b)));
    }
    product.columns.push_back(
        {std::move(blocks), data_of(y), out, 0, member.bias.defined() ? data_of(biases.back()) : nullptr});
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
  if (wanted.input || trains_a) projections = projection_gradients(state, grads);
  if (wanted.input) result[0] = input_gradient(state, grads, projections);
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
