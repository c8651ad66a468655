#include "model/parts/mlp.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/ops/elementwise.hpp"
#include "model/parts/linear.hpp"

namespace lorica::model {

Mlp::Mlp(const MlpSpec& spec, int64_t hidden_size)
    : spec_(spec),
      hidden_size_(hidden_size),
      inputs_(modules_in(spec.name, spec.inputs)),
      output_(spec.name + "." + spec.output) {}

void Mlp::describe(std::vector<ParameterSpec>& parameters) const {
  const auto rows = spec_.intermediate_size * (spec_.fused() ? 2 : 1);
  for (const auto& module : inputs_) describe_linear(parameters, module, rows, hidden_size_, spec_.input_bias);
  describe_linear(parameters, output_, hidden_size_, spec_.intermediate_size, spec_.output_bias);
}

at::Tensor Mlp::forward(const Value& x, const BlockWeights& weights, const Pass& pass) const {
  const auto middle = [&] {
    const auto wide = weights.linears(inputs_, x, pass);
    if (!spec_.gated) return activated(wide[0], spec_.activation, pass.keeping);
    if (spec_.fused()) return gated(wide[0], spec_.activation, pass.keeping);
    return gated(wide[0], wide[1], spec_.activation, pass.keeping);
  }();
  return weights.linear(output_, middle, pass);
}

Held Mlp::held(const RunFacts& facts) const {
  const auto wide = static_cast<std::uint64_t>(spec_.intermediate_size);
  Held held;
  held.wide = spec_.gated ? 2 * wide : 0;
  if (!spec_.gated) held.compute += wide;
  if (facts.selective) return held;
  if (std::any_of(inputs_.begin(), inputs_.end(), facts.keeps_input)) {
    held.compute += static_cast<std::uint64_t>(hidden_size_);
  }
  if (facts.keeps_input(output_)) held.compute += wide;
  return held;
}

Peaks Mlp::peaks(const RunFacts& facts) const {
  const auto wide = static_cast<std::uint64_t>(spec_.intermediate_size);
  const std::uint64_t made = spec_.gated ? 3 : 2;  // gate, up and their product
  // The gradients of the product, of gate and up. Adapters with dropout need two more of the product's.
  const std::uint64_t product = facts.dropout ? 3 : 1;
  return {(made + (facts.dropout ? 1 : 0)) * wide, std::max(made, product + (facts.selective ? 1 : 0)) * wide};
}

}  // namespace lorica::model
