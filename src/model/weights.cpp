#include "model/weights.hpp"

#include "base/error.hpp"
#include "model/ops/linear_group.hpp"

namespace lorica::model {

const Weight& BlockWeights::at(const std::string& name) const {
  const auto found = weights_.find(name);
  ensure(found != weights_.end(), "the block has no parameter '{}'", name);
  return found->second;
}

at::Tensor BlockWeights::tensor(const std::string& name) const {
  const auto& weight = at(name);
  return weight.trained() ? weight.leaf : weight.stored->data();
}

at::Tensor BlockWeights::tensor_or_none(const std::string& name) const {
  return has(name) ? tensor(name) : at::Tensor();
}

std::vector<at::Tensor> BlockWeights::linears(const std::vector<std::string>& modules, const Value& x,
                                              const Pass& pass) const {
  std::vector<LinearMember> members;
  for (const auto& module : modules) {
    LinearMember member{at(module + ".weight"), tensor_or_none(module + ".bias"), std::nullopt};
    const auto adapter = adapters_.find(module);
    if (pass.adapters && adapter != adapters_.end()) member.low_rank = adapter->second->low_rank(module, *this, pass);
    members.push_back(std::move(member));
  }
  return linear_group(x, members);
}

at::Tensor BlockWeights::linear(const std::string& module, const Value& x, const Pass& pass) const {
  return linears({module}, x, pass).front();
}

}  // namespace lorica::model
