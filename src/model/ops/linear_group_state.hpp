// What linear_group.cpp keeps between forward and backward, and the two ways to compute: by kernels/gemm.hpp, and
// composed of ATen operations. Internal to model/ops/.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <set>
#include <vector>

#include "model/ops/dropout.hpp"
#include "model/ops/kept.hpp"
#include "quant/kernel_weight.hpp"

namespace lorica::model {

inline constexpr int kNoEdge = -1;

struct GroupMember {
  std::shared_ptr<const quant::StoredWeight> weight;
  at::Tensor bias;       ///< detached; undefined: none
  at::Tensor a, b;       ///< of the low-rank term, detached, in the compute dtype; undefined: none
  at::Tensor projected;  ///< dropout(x) Aᵀ [T, r]; in the kernels' product times the scaling already
  Dropout dropout;
  double scaling = 1;
  int weight_edge = kNoEdge, bias_edge = kNoEdge, a_edge = kNoEdge, b_edge = kNoEdge;  ///< where gradients go

  bool low_rank() const { return a.defined(); }
};

struct GroupState {
  std::vector<GroupMember> members;
  Kept input;  ///< empty if no gradient needs it
  bool in_kernel = false;
};

/// Which gradients are asked for. Results have one tensor an edge, undefined where it is not.
struct Wanted {
  bool input = false;
  std::set<int> edges;
  std::size_t count = 0;
  bool has(int edge) const { return edges.contains(edge); }
};

/// x [T, in] -> [T, out] of each member; sets their `projected`.
std::vector<at::Tensor> forward_in_kernel(GroupState& state, const at::Tensor& x);
std::vector<at::Tensor> forward_composed(GroupState& state, const at::Tensor& x);
/// `grads`: [T, out] of each member, contiguous; undefined where none came.
std::vector<at::Tensor> backward_in_kernel(const GroupState& state, const std::vector<at::Tensor>& grads,
                                           const Wanted& wanted);
std::vector<at::Tensor> backward_composed(const GroupState& state, const std::vector<at::Tensor>& grads,
                                          const Wanted& wanted);

}  // namespace lorica::model
