// Normalization of hidden states or of heads, of any kind in NormSpec.
#pragma once

#include "model/block_spec.hpp"
#include "model/layer_spec.hpp"
#include "model/ops/elementwise.hpp"
#include "model/weights.hpp"

namespace lorica::model {

class Norm {
 public:
  /// Its parameters are "<name>.weight" and "<name>.bias" [size].
  Norm(const NormSpec& spec, int64_t size, const std::string& prefix = "");

  void describe(std::vector<ParameterSpec>& parameters) const;
  /// x [..., size], normalized over the last dimension.
  Value forward(const at::Tensor& x, const BlockWeights& weights, const Keeping& keeping) const;
  /// x + change (x alone if `change` is undefined), and that normalized.
  Branch add(const at::Tensor& x, const at::Tensor& change, const BlockWeights& weights, const Keeping& keeping) const;

 private:
  Value layer_norm(const at::Tensor& x, const BlockWeights& weights, const Keeping& keeping) const;
  RmsRule rule() const { return {spec_.eps, spec_.kind == NormKind::rms_plus_one, spec_.kind == NormKind::rms}; }

  NormSpec spec_;
  int64_t size_;
  std::string weight_, bias_;
};

}  // namespace lorica::model
