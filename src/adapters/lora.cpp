#include "adapters/lora.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "base/random.hpp"

namespace lorica::adapters {

model::LowRank LoraAdapter::low_rank(const std::string& module, const model::BlockWeights& weights,
                                     const model::Pass& pass) const {
  model::LowRank term{
      weights.tensor(module + ".lora_A.weight"), weights.tensor(module + ".lora_B.weight"), scaling_, {}};
  if (dropout_ > 0 && pass.dropout) term.dropout = model::Dropout(pass.dropout, module_key_, dropout_);
  return term;
}

at::Tensor initial_lora_a(std::int64_t rank, std::int64_t in, std::uint64_t key) {
  auto a = at::empty({rank, in}, at::kFloat);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  float* values = a.data_ptr<float>();
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    values[i] = static_cast<float>((2.0 * random_uniform(key, static_cast<std::uint64_t>(i)) - 1.0) * bound);
  }
  return a;
}

at::Tensor lora_delta(const at::Tensor& a, const at::Tensor& b, double scaling) {
  return at::mm(b.to(at::kFloat), a.to(at::kFloat)).mul_(scaling);
}

}  // namespace lorica::adapters
