// The weights of one block, as its code sees them: by local name ("self_attn.q_proj.weight"), ready to use. How they
// are stored, sharded or adapted is hidden here.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/batch.hpp"
#include "model/ops/kept.hpp"
#include "quant/weight.hpp"

namespace lorica::model {

class BlockWeights;

/// A low-rank term on top of a linear layer: scaling · B A dropout(x).
struct LowRank {
  at::Tensor a, b;  ///< [r, in], [out, r]: the leaves if they are trained
  double scaling = 1;
  Dropout dropout;
};

/// What is trained on top of a linear layer. Implementations: adapters/.
class LinearAdapter {
 public:
  virtual ~LinearAdapter() = default;
  /// `module` is the linear's local name ("self_attn.q_proj"); the adapter's own tensors come from `weights`.
  virtual LowRank low_rank(const std::string& module, const BlockWeights& weights, const Pass& pass) const = 0;
};

/// One parameter as acquired from a ParameterStore.
struct Weight {
  std::shared_ptr<const quant::StoredWeight> stored;
  at::Tensor leaf;  ///< defined if it is trained: the autograd leaf (dense; shares memory with `stored`)
  bool trained() const { return leaf.defined(); }
};

class BlockWeights {
 public:
  void add(const std::string& name, Weight weight) { weights_[name] = std::move(weight); }
  void set_adapter(const std::string& module, std::shared_ptr<const LinearAdapter> adapter) {
    adapters_[module] = std::move(adapter);
  }
  const std::map<std::string, Weight>& all() const { return weights_; }
  bool has(const std::string& name) const { return weights_.contains(name); }
  /// Throws Error (an invariant of ours) if the block has no such parameter.
  const Weight& at(const std::string& name) const;
  /// A dense parameter (norm, bias, adapter matrix) as a tensor: the leaf if it is trained.
  at::Tensor tensor(const std::string& name) const;
  /// The same, undefined if there is none (biases).
  at::Tensor tensor_or_none(const std::string& name) const;
  /// y = x Wᵀ + b of the layer `module` ("self_attn.q_proj"), with its adapter if it has one and the pass wants it:
  /// x [T, in] -> [T, out].
  at::Tensor linear(const std::string& module, const Value& x, const Pass& pass) const;
  /// The same for several layers that read one input, which is cheaper together.
  std::vector<at::Tensor> linears(const std::vector<std::string>& modules, const Value& x, const Pass& pass) const;

 private:
  std::map<std::string, Weight> weights_;
  std::map<std::string, std::shared_ptr<const LinearAdapter>> adapters_;
};

}  // namespace lorica::model
