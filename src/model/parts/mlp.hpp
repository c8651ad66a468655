// Feed-forward: gated (SwiGLU, GEGLU) or plain.
#pragma once

#include "model/batch.hpp"
#include "model/block_spec.hpp"
#include "model/layer_spec.hpp"
#include "model/parts/costs.hpp"
#include "model/weights.hpp"

namespace lorica::model {

class Mlp {
 public:
  Mlp(const MlpSpec& spec, int64_t hidden_size);

  void describe(std::vector<ParameterSpec>& parameters) const;
  /// x, normalized, [T, hidden_size] -> [T, hidden_size].
  at::Tensor forward(const Value& x, const BlockWeights& weights, const Pass& pass) const;

  Held held(const RunFacts& facts) const;
  Peaks peaks(const RunFacts& facts) const;

 private:
  MlpSpec spec_;
  int64_t hidden_size_;
  std::vector<std::string> inputs_;
  std::string output_;
};

}  // namespace lorica::model
