// The product with a stored weight: values, gradients by finite differences in float64, and what is kept for backward.
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "kernels/mode.hpp"
#include "quant/weight.hpp"

namespace lorica::quant {
namespace {

at::Tensor normal(std::vector<std::int64_t> shape, std::uint64_t seed, at::ScalarType dtype = at::kFloat) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::normal(0.0, 1.0, shape, generator).to(dtype);
}

/// The kernels' order of sums differs from ATen's: of k products of normal values, each of the two loses some
/// sqrt(k) · 2⁻²⁴ of |x||w| · sqrt(k), which for k ≤ 71 (the bias counts as one) stays below 1e-4 with room for
/// outliers.
constexpr double kTolerance = 1e-4;

void expect_dense_product(std::int64_t tokens, at::ScalarType dtype, Kind kind, double tolerance) {
  SCOPED_TRACE(fmt::format("{} tokens, {}, {}", tokens, at::toString(dtype), kind_name(kind)));
  const auto weight = store(normal({48, 70}, 1), {kind, at::kBFloat16, 64, true});
  const auto x = normal({tokens, 70}, 2, dtype), bias = normal({48}, 3), g = normal({tokens, 48}, 4, dtype);
  const auto dense = dequantize(weight, dtype);
  const auto equal = [&](const at::Tensor& ours, const at::Tensor& expected) {
    return ours.sizes() == expected.sizes() && ours.scalar_type() == dtype &&
           (ours - expected).abs().max().item<double>() <= tolerance;
  };
  EXPECT_TRUE(equal(linear(x, weight, bias), at::linear(x, dense, bias.to(dtype))));
  EXPECT_TRUE(equal(linear(x, weight), at::linear(x, dense)));
  EXPECT_TRUE(equal(linear_backward_input(g, weight), at::matmul(g, dense)));
  auto leaf = x.clone().requires_grad_(true);
  linear(leaf, weight, bias).backward(g);
  EXPECT_TRUE(equal(leaf.grad(), at::matmul(g, dense)));
}

TEST(QuantLinear, EqualsTheDenseProduct) {
  for (const auto kind : {Kind::nf4, Kind::fp4, Kind::dense}) {
    for (const std::int64_t tokens : {1, 5, 40}) {
      expect_dense_product(tokens, at::kFloat, kind, kTolerance);
      expect_dense_product(tokens, at::kBFloat16, kind, 0);  // ATen's product of the same values
      kernels::set_kernel_mode(kernels::KernelMode::reference);
      expect_dense_product(tokens, at::kFloat, kind, 0);
      kernels::set_kernel_mode(kernels::KernelMode::automatic);
    }
  }
}

TEST(QuantLinear, GradientsMatchFiniteDifferences) {
  const auto weight = store(normal({6, 10}, 1), {Kind::nf4, at::kFloat, 32, true});
  auto x = normal({2, 3, 10}, 2, at::kDouble).requires_grad_(true);
  auto bias = normal({6}, 3, at::kDouble).requires_grad_(true);
  const auto direction = normal({2, 3, 6}, 4, at::kDouble);
  const auto loss = [&] { return (linear(x, weight, bias).tanh() * direction).sum(); };
  loss().backward();
  const at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  for (auto& input : {x, bias}) {
    const auto flat = input.view({-1});
    for (std::int64_t i = 0; i < flat.numel(); ++i) {
      const double centre = flat[i].item<double>();
      flat[i] = centre + kStep;
      const double up = loss().item<double>();
      flat[i] = centre - kStep;
      const double down = loss().item<double>();
      flat[i] = centre;
      // Central differences: error of order step² (1e-10) times a third derivative of order 1, plus 1e-16 / step.
      EXPECT_NEAR(input.grad().view({-1})[i].item<double>(), (up - down) / (2 * kStep), 1e-8);
    }
  }
}

TEST(QuantLinear, OnlyADenseTrainableWeightGetsAGradient) {
  auto trainable = normal({6, 10}, 1).requires_grad_(true);
  const auto weight = store(trainable, {Kind::dense, at::kFloat});
  const auto x = normal({3, 10}, 2), g = normal({3, 6}, 3);
  linear(x, weight).backward(g);
  EXPECT_TRUE(trainable.grad().allclose(at::matmul(g.t(), x)));

  // In another dtype the gradient still reaches the weight in its own.
  auto in_half_precision = normal({6, 10}, 1).requires_grad_(true);
  linear(x.to(at::kBFloat16), store(in_half_precision, {Kind::dense, at::kFloat})).backward(g.to(at::kBFloat16));
  EXPECT_EQ(in_half_precision.grad().scalar_type(), at::kFloat);

  const auto frozen = store(normal({6, 10}, 1), {Kind::nf4, at::kFloat, 32, false});
  EXPECT_FALSE(linear(x, frozen).requires_grad());
}

// The dense form of a quantized weight must not live from forward to backward: the node keeps the packed parts alone.
TEST(QuantLinear, KeepsThePackedWeightForBackward) {
  auto weight = store(normal({64, 64}, 1), {Kind::nf4, at::kFloat, 64, true});
  auto x = normal({2, 64}, 2).requires_grad_(true);
  auto y = linear(x, weight);
  EXPECT_EQ(weight.data.use_count(), 2);  // ours and the node's
  y.sum().backward();
  const auto before = x.grad().clone();
  // Backward reads the packed bytes when it runs: change them between forward and backward and the gradient follows.
  x.mutable_grad() = at::Tensor();
  y = linear(x, weight);
  weight.data.fill_(0xFF);  // every code 15, whose value is the block's absmax
  y.sum().backward();
  EXPECT_FALSE(x.grad().equal(before));
  EXPECT_TRUE(x.grad().equal(at::matmul(at::ones({2, 64}), dequantize(weight, at::kFloat))));
}

TEST(QuantLinear, RefusesShapesThatDoNotFit) {
  const auto weight = store(normal({6, 10}, 1), {Kind::nf4, at::kFloat, 32, false});
  EXPECT_THROW(linear(normal({3, 6}, 2), weight), Error);
  EXPECT_THROW(linear_backward_input(normal({3, 10}, 2), weight), Error);
}

}  // namespace
}  // namespace lorica::quant
