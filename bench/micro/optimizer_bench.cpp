// What runs over all trained values once a step: AdamW, the norm of gradients, the search for values that aren't
// finite. 16 Mi values, far beyond the caches.
#include "harness.hpp"

#include <cmath>

#include "kernels/adam.hpp"
#include "kernels/finite.hpp"
#include "quant/kernel_weight.hpp"

namespace {

using namespace lorica;
using bench::Pair;

constexpr std::int64_t kValues = std::int64_t{1} << 24;
constexpr double kRate = 1e-3, kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8, kDecay = 0.01;
constexpr int kStep = 10;

struct State {
  at::Tensor value, gradient, mean, square;
  State copy() const { return {value.clone(), gradient, mean.clone(), square.clone()}; }
  std::vector<at::Tensor> results() const { return {value, mean, square}; }
};

State random_state() {
  return {at::randn({kValues}), at::randn({kValues}), at::randn({kValues}), at::rand({kValues})};
}

std::vector<at::Tensor> update(const State& state) {
  const double first = 1 - std::pow(kBeta1, kStep), second = 1 - std::pow(kBeta2, kStep);
  const kernels::AdamStep step{.keep = static_cast<float>(1 - kRate * kDecay),
                               .mean_weight = static_cast<float>(1 - kBeta1),
                               .square_keep = static_cast<float>(kBeta2),
                               .square_weight = static_cast<float>(1 - kBeta2),
                               .root_correction = static_cast<float>(std::sqrt(second)),
                               .epsilon = static_cast<float>(kEpsilon),
                               .step_size = static_cast<float>(kRate / first)};
  const auto floats = [](const at::Tensor& x) { return x.data_ptr<float>(); };
  const kernels::AdamTensor tensor{
      floats(state.value), floats(state.mean), floats(state.square), floats(state.gradient), kValues, step};
  kernels::adam_update({&tensor, 1});
  return state.results();
}

/// One operation after the other, as torch::optim::AdamW.
std::vector<at::Tensor> update_composed(const State& state) {
  const double first = 1 - std::pow(kBeta1, kStep), second = 1 - std::pow(kBeta2, kStep);
  state.value.mul_(1 - kRate * kDecay);
  state.mean.lerp_(state.gradient, 1 - kBeta1);
  state.square.mul_(kBeta2).addcmul_(state.gradient, state.gradient, 1 - kBeta2);
  state.value.addcdiv_(state.mean, state.square.sqrt().div_(std::sqrt(second)).add_(kEpsilon), -kRate / first);
  return state.results();
}

/// As torch.optim.AdamW with fused=True.
std::vector<at::Tensor> update_fused(const State& state, const at::Tensor& step) {
  at::_fused_adamw_({state.value}, {state.gradient}, {state.mean}, {state.square}, {}, {step}, kRate, kBeta1, kBeta2,
                    kDecay, kEpsilon, /*amsgrad=*/false, /*maximize=*/false);
  return state.results();
}

/// A few roundings each.
Pair adam(bool fused) {
  const auto ours = random_state(), aten = ours.copy();
  const auto step = at::scalar_tensor(static_cast<double>(kStep));
  return {[=] { return update(ours); },
          [=] { return fused ? update_fused(aten, step) : update_composed(aten); },
          {4 * bench::kFloatEpsilon, 4 * bench::kFloatEpsilon}};
}

/// Ours sums in float64, ATen in float32.
Pair norm() {
  const auto x = at::randn({kValues});
  return {[=] {
            const kernels::FloatSpan span{x.data_ptr<float>(), kValues};
            double sum = 0;
            kernels::squares({&span, 1}, {&sum, 1});
            return std::vector{at::scalar_tensor(std::sqrt(sum))};
          },
          [=] { return std::vector{at::linalg_vector_norm(x)}; }, bench::tolerance_of_sum(kValues)};
}

Pair finite(at::ScalarType dtype) {
  const auto x = at::randn({kValues}).to(dtype);
  return {[=] {
            const bool all = kernels::first_non_finite(x.data_ptr(), quant::float_type(dtype), kValues) < 0;
            return std::vector{at::scalar_tensor(all ? 1.0 : 0.0)};
          },
          [=] { return std::vector{at::isfinite(x).all()}; },
          {}};
}

void add_pairs(bench::Suite& suite) {
  const auto bytes = [](double a_value) { return bench::Work{0, a_value * static_cast<double>(kValues)}; };
  // Read value, gradient, mean and square; written all but the gradient.
  suite.add("adam/beside_composed/f32", bytes(7 * 4), [] { return adam(false); });
  suite.add("adam/beside_fused/f32", bytes(7 * 4), [] { return adam(true); });
  suite.add("norm/f32", bytes(4), norm);
  suite.add("finite/f32", bytes(4), [] { return finite(at::kFloat); });
  suite.add("finite/bf16", bytes(2), [] { return finite(at::kBFloat16); });
}

}  // namespace

int main(int count, char** arguments) {
  return lorica::bench::run_pairs(count, arguments, add_pairs);
}
