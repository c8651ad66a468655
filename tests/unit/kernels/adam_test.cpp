// Adam and sums of squares against float64 loops, on every instruction set that this machine has.
#include "kernels/adam.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/modes.hpp"

namespace lorica::kernels {
namespace {

std::vector<float> values(std::int64_t count, unsigned seed, float scale) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> result(static_cast<std::size_t>(count));
  for (auto& value : result) value = normal(engine);
  return result;
}

struct Weights {
  explicit Weights(std::int64_t count, unsigned seed)
      : value(values(count, seed, 1)), mean(values(count, seed + 1, 0.1f)), square(values(count, seed + 2, 0.1f)) {
    for (auto& x : square) x *= x;
    gradient = values(count, seed + 3, 0.5f);
  }
  AdamTensor tensor(const AdamStep& step) {
    return {value.data(), mean.data(), square.data(), gradient.data(), static_cast<std::int64_t>(value.size()), step};
  }
  std::vector<float> value, mean, square, gradient;
};

const AdamStep kStep{0.999f, 0.01f, 0.1f, 0.99f, 0.01f, 0.3f, 1e-6f, 0.02f};

TEST(Adam, EqualsTheFormula) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const std::int64_t count : {1, 7, 16, 33, 40'000, 100'003}) {
      Weights now(count, 5);
      const Weights before = now;
      const AdamTensor tensors[] = {now.tensor(kStep)};
      adam_update(tensors);
      for (std::size_t i = 0; i < now.value.size(); ++i) {
        const double g = before.gradient[i] + 0.01f * double{before.value[i]};
        const double m = before.mean[i] + 0.1f * (g - before.mean[i]);
        const double s = 0.99f * double{before.square[i]} + 0.01f * g * g;
        const double x = 0.999f * double{before.value[i]} - 0.02f * m / (std::sqrt(s) / 0.3f + 1e-6f);
        // A few roundings of values below 8 (x also of the step, at most 0.02 · 8 / √s').
        ASSERT_NEAR(now.mean[i], m, 8 * 0x1p-24);
        ASSERT_NEAR(now.square[i], s, 4 * 0x1p-24 * (s + 0.1));
        ASSERT_NEAR(now.value[i], x, 0x1p-20);
      }
    }
  }
}

TEST(Adam, TensorsAndTheirStepsAreApart) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    std::vector<Weights> together, apart;
    std::vector<AdamTensor> tensors;
    for (unsigned i = 0; i < 50; ++i) together.emplace_back(1 + 1000 * (i % 5) + i, 10 * i);
    apart = together;
    for (std::size_t i = 0; i < together.size(); ++i) {
      auto step = kStep;
      step.step_size = 0.01f * static_cast<float>(i);
      tensors.push_back(together[i].tensor(step));
      const AdamTensor alone[] = {apart[i].tensor(step)};
      adam_update(alone);
    }
    adam_update(tensors);
    for (std::size_t i = 0; i < together.size(); ++i) {
      ASSERT_EQ(together[i].value, apart[i].value);
      ASSERT_EQ(together[i].mean, apart[i].mean);
      ASSERT_EQ(together[i].square, apart[i].square);
    }
  }
}

TEST(Squares, AreSummedBySpan) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    const auto a = values(100'000, 1, 3), b = values(5, 2, 1), c = values(0, 3, 1);
    const FloatSpan spans[] = {{a.data(), 100'000}, {b.data(), 5}, {c.data(), 0}};
    double sums[3];
    squares(spans, sums);
    double expected[2] = {0, 0};
    for (const float x : a) expected[0] += double{x} * x;
    for (const float x : b) expected[1] += double{x} * x;
    EXPECT_NEAR(sums[0], expected[0], 1e-5 * expected[0]);
    EXPECT_NEAR(sums[1], expected[1], 1e-6 * expected[1]);
    EXPECT_EQ(sums[2], 0);
  }
}

TEST(Squares, TellOfWhatIsNotFinite) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      auto x = values(50'000, 1, 1);
      x[49'999] = bad;
      const FloatSpan spans[] = {{x.data(), 50'000}};
      double sum[1];
      squares(spans, sum);
      EXPECT_FALSE(std::isfinite(sum[0]));
    }
  }
}

}  // namespace
}  // namespace lorica::kernels
