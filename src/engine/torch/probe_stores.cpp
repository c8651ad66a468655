#include "engine/torch/probe_stores.hpp"

#include <ATen/ATen.h>

#include <cstring>

#include "base/error.hpp"

namespace lorica::engine {
namespace {

[[noreturn]] void refuse() {
  throw Error("internal error: this store serves forward passes only");
}

/// Bit for bit: −0 is not 0, and a NaN equals itself.
bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
  if (!a.is_cpu()) return at::equal(a.contiguous().view(at::kByte), b.contiguous().view(at::kByte));
  const auto x = a.contiguous(), y = b.contiguous();
  return std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

}  // namespace

void ForwardStore::release_after_backward(std::size_t, bool) {
  refuse();
}
void ForwardStore::gradients_added(std::size_t, bool) {
  refuse();
}
void ForwardStore::add_gradient(std::size_t, const std::string&, at::Tensor) {
  refuse();
}
std::vector<optim::TrainableParameter> ForwardStore::trainable() {
  refuse();
}
void ForwardStore::set_gradient(const std::string&, at::Tensor) {
  refuse();
}
Rows ForwardStore::rows(const std::string&) const {
  refuse();
}
at::Tensor ForwardStore::whole(const std::string&) {
  refuse();
}

StreamedStore::StreamedStore(StreamedSource source, std::vector<ParameterGroup> groups,
                             std::vector<BlockLayout> layouts)
    : source_(std::move(source)),
      loader_(source_.config, *source_.base, source_.device, source_.plan, /*trains=*/false),
      groups_(std::move(groups)),
      layouts_(std::move(layouts)) {}

model::BlockWeights StreamedStore::acquire(std::size_t block) {
  std::map<std::string, std::shared_ptr<quant::StoredWeight>> loaded;
  for (auto& parameter : loader_.load(groups_.at(block))) loaded[parameter.name] = std::move(parameter.stored);
  model::BlockWeights weights;
  const auto& layout = layouts_.at(block);
  for (const auto& [local, name] : layout.parameters) weights.add(local, {loaded.at(name), {}});
  for (const auto& [module, adapter] : layout.adapters) weights.set_adapter(module, adapter);
  return weights;
}

model::BlockWeights ReadBackStore::acquire(std::size_t block) {
  auto weights = live_.acquire(block);
  const auto& layout = live_.layout(block);
  for (const auto& parameter : live_.parameters()) {
    if (!parameter.trained) continue;
    for (const auto& [local, name] : layout.parameters) {
      if (name != parameter.name) continue;
      const auto live = weights.at(local);
      auto stored = std::make_shared<quant::StoredWeight>(*live.stored);
      stored->parts[0] = saved_.value(parameter, {0, parameter.stored->shape.at(0)}).to(live.stored->device());
      if (differing_.empty() && !same_bits(live.stored->data().detach(), stored->data())) differing_ = name;
      const auto leaf = live.trained() ? stored->data() : at::Tensor();
      weights.add(local, {std::move(stored), leaf});
    }
  }
  return weights;
}

}  // namespace lorica::engine
