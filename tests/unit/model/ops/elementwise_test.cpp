// RMSNorm, SwiGLU and rotary embedding: against compositions of ATen operations under autograd, against finite
// differences in float64, and their recipes against themselves.
#include "model/ops/elementwise.hpp"

#include <ATen/ATen.h>

#include "kernels/mode.hpp"
#include "model/gradient_check.hpp"

namespace lorica::model {
namespace {

using test::expect_gradients;
using test::gradients_of;
using test::leaf;
using test::normal;
using test::relative_difference;

// Sums of up to 96 products in another order: 96 · 6e-8.
constexpr double kFloatTolerance = 6e-6;

at::Tensor composed_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * (x.square().mean(-1, true) + eps).rsqrt() * weight;
}

TEST(RmsNorm, EqualsItsCompositionAndFiniteDifferences) {
  for (const auto& shape : {std::vector<std::int64_t>{5, 12}, {3, 2, 7}, {1, 1}}) {
    auto x = leaf(shape, 1, at::kDouble), weight = leaf({shape.back()}, 2, at::kDouble);
    const auto direction = normal(shape, 3, at::kDouble);
    const auto loss = [&] { return (rms_norm(x, weight, 1e-5, false).tensor * direction).sum(); };
    expect_gradients(loss, {x, weight});
    const auto ours = gradients_of(loss(), {x, weight});
    const auto theirs = gradients_of((composed_norm(x, weight, 1e-5) * direction).sum(), {x, weight});
    EXPECT_LT(relative_difference(rms_norm(x, weight, 1e-5, false).tensor, composed_norm(x, weight, 1e-5)), 1e-14);
    for (std::size_t i = 0; i < 2; ++i) EXPECT_LT(relative_difference(ours[i], theirs[i]), 1e-11);
  }
}

TEST(RmsNorm, InFloat32AndBfloat16) {
  auto x = leaf({33, 96}, 1), weight = leaf({96}, 2);
  const auto direction = normal({33, 96}, 3);
  const auto ours = gradients_of((rms_norm(x, weight, 1e-6, true).tensor * direction).sum(), {x, weight});
  const auto theirs = gradients_of((composed_norm(x, weight, 1e-6) * direction).sum(), {x, weight});
  for (std::size_t i = 0; i < 2; ++i) EXPECT_LT(relative_difference(ours[i], theirs[i]), kFloatTolerance);

  // bfloat16: the statistics are float32, so the result is that of float32 with two roundings (2 · 2⁻⁸).
  auto low = x.detach().to(at::kBFloat16).requires_grad_(true);
  const auto result = rms_norm(low, weight.detach().to(at::kBFloat16), 1e-6, false).tensor;
  EXPECT_EQ(result.scalar_type(), at::kBFloat16);
  EXPECT_LT(relative_difference(result, composed_norm(low.to(at::kFloat), weight, 1e-6)), 1.0 / 128);
  const auto gradient = gradients_of(result.sum(), {low})[0];
  auto same = low.detach().to(at::kFloat).requires_grad_(true);
  const auto exact = gradients_of(composed_norm(same, weight.detach(), 1e-6).sum(), {same})[0];
  EXPECT_EQ(gradient.scalar_type(), at::kBFloat16);
  EXPECT_LT(relative_difference(gradient, exact), 1.0 / 64);
}

TEST(RmsNorm, GivesNoGradientToAFrozenWeight) {
  auto x = leaf({2, 8}, 1);
  const auto weight = normal({8}, 2);
  const auto y = rms_norm(x, weight, 1e-6, false).tensor;
  EXPECT_TRUE(gradients_of(y.sum(), {x})[0].defined());
  auto trained = weight.clone().requires_grad_(true);
  EXPECT_TRUE(gradients_of(rms_norm(x.detach(), trained, 1e-6, false).tensor.sum(), {trained})[0].defined());
}

TEST(AddRmsNorm, EqualsItsCompositionAndFiniteDifferences) {
  auto x = leaf({4, 9}, 1, at::kDouble), change = leaf({4, 9}, 2, at::kDouble), weight = leaf({9}, 3, at::kDouble);
  const auto up = normal({4, 9}, 4, at::kDouble), past = normal({4, 9}, 5, at::kDouble);
  for (const bool adds : {true, false}) {
    const auto loss = [&] {
      const auto branch = add_rms_norm(x, adds ? change : at::Tensor(), weight, 1e-6, false);
      return (branch.normalized.tensor * up).sum() + (branch.stream * past).sum();
    };
    const auto leaves = adds ? std::vector<at::Tensor>{x, change, weight} : std::vector<at::Tensor>{x, weight};
    expect_gradients(loss, leaves);
    const auto stream = adds ? x + change : x;
    const auto composed = (rms_norm(stream, weight, 1e-6, false).tensor * up).sum() + (stream * past).sum();
    const auto ours = gradients_of(loss(), leaves), theirs = gradients_of(composed, leaves);
    for (std::size_t i = 0; i < leaves.size(); ++i) EXPECT_LT(relative_difference(ours[i], theirs[i]), 1e-13);
  }
}

TEST(AddRmsNorm, TheKernelEqualsTheComposition) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    auto x = leaf({6, 32}, 1, dtype), change = leaf({6, 32}, 2, dtype);
    const auto weight = normal({32}, 3, dtype), up = normal({6, 32}, 4, dtype), past = normal({6, 32}, 5, dtype);
    const auto branch = add_rms_norm(x, change, weight, 1e-6, true);
    EXPECT_TRUE(branch.stream.equal(x + change));
    EXPECT_TRUE(branch.normalized.tensor.equal(rms_norm(branch.stream.detach(), weight, 1e-6, false).tensor));
    EXPECT_TRUE(branch.normalized.kept().get().equal(branch.normalized.tensor));
    EXPECT_TRUE(residual_sum(x, change).equal(x + change));
    const auto ours = gradients_of((branch.normalized.tensor * up).sum() + (branch.stream * past).sum(), {x, change});
    const auto stream = x + change;
    const auto theirs =
        gradients_of((rms_norm(stream, weight, 1e-6, false).tensor * up).sum() + (stream * past).sum(), {x, change});
    // The composition rounds the norm's part before it adds.
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_LT(relative_difference(ours[i], theirs[i]), dtype == at::kFloat ? 1e-6 : 1.0 / 128);
    }
  }
}

TEST(AddRmsNorm, NeedsNoGradientOfItsFirstTerm) {
  const auto x = normal({4, 8}, 1), weight = normal({8}, 2);
  auto change = leaf({4, 8}, 3);
  const auto branch = add_rms_norm(x, change, weight, 1e-6, false);
  EXPECT_TRUE(gradients_of(branch.normalized.tensor.sum(), {change})[0].defined());
}

TEST(SwiGlu, EqualsItsCompositionAndFiniteDifferences) {
  auto gate = leaf({4, 9}, 1, at::kDouble), up = leaf({4, 9}, 2, at::kDouble);
  const auto direction = normal({4, 9}, 3, at::kDouble);
  const auto loss = [&] { return (gated(gate, up, ActivationKind::silu, {}).tensor * direction).sum(); };
  expect_gradients(loss, {gate, up});
  const auto ours = gradients_of(loss(), {gate, up});
  const auto theirs = gradients_of((gate * gate.sigmoid() * up * direction).sum(), {gate, up});
  for (std::size_t i = 0; i < 2; ++i) EXPECT_LT(relative_difference(ours[i], theirs[i]), 1e-13);
}

at::Tensor composed_rotary(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  const auto rotated = 2 * cosine.size(-1), half = cosine.size(-1);
  const auto turned = x.narrow(-1, 0, rotated);
  const auto c = at::cat({cosine, cosine}, -1).unsqueeze(1), s = at::cat({sine, sine}, -1).unsqueeze(1);
  const auto swapped = at::cat({-turned.narrow(-1, half, half), turned.narrow(-1, 0, half)}, -1);
  return at::cat({turned * c + swapped * s, x.narrow(-1, rotated, x.size(-1) - rotated)}, -1);
}

TEST(Rotary, EqualsItsCompositionAndFiniteDifferences) {
  for (const std::int64_t rotary_dim : {8, 4}) {
    auto x = leaf({5, 3, 8}, 1, at::kDouble);
    const auto angles = normal({5, rotary_dim / 2}, 2);
    const auto cosine = angles.cos() * 1.2, sine = angles.sin() * 1.2;  // attention scaling as of yarn
    const auto direction = normal({5, 3, 8}, 3, at::kDouble);
    const auto loss = [&] { return (rotary(x, cosine, sine) * direction).sum(); };
    expect_gradients(loss, {x});
    const auto theirs = composed_rotary(x, cosine.to(at::kDouble), sine.to(at::kDouble));
    EXPECT_LT(relative_difference(rotary(x, cosine, sine), theirs), 1e-14);
    EXPECT_LT(relative_difference(gradients_of(loss(), {x})[0], gradients_of((theirs * direction).sum(), {x})[0]),
              1e-14);
  }
}

TEST(Recipes, MakeTheSameBitsAgain) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    auto x = leaf({6, 32}, 1, dtype), up = leaf({6, 32}, 2, dtype);
    const auto weight = normal({32}, 3, dtype);
    for (const auto& value : {rms_norm(x, weight, 1e-6, true), gated(x, up, ActivationKind::silu, {true, false})}) {
      ASSERT_TRUE(value.recipe);
      EXPECT_TRUE(value.kept().get().equal(value.tensor));
      EXPECT_FALSE(value.kept().get().requires_grad());
    }
    EXPECT_FALSE(rms_norm(x, weight, 1e-6, false).recipe);
    EXPECT_FALSE(gated(x, up, ActivationKind::silu, {}).recipe);
  }
}

// What selective recomputation is for: a consumer that keeps the recipe holds no memory of the value.
TEST(Recipes, HoldNoCopyOfTheValue) {
  auto x = leaf({6, 32}, 1);
  const auto weight = normal({32}, 3);
  Kept kept, held;
  const auto selective = rms_norm(x, weight, 1e-6, true), plain = rms_norm(x, weight, 1e-6, false);
  const auto before = selective.tensor.storage().use_count(), before_plain = plain.tensor.storage().use_count();
  kept = selective.kept();
  held = plain.kept();
  EXPECT_EQ(selective.tensor.storage().use_count(), before);
  EXPECT_EQ(plain.tensor.storage().use_count(), before_plain + 1);
}

// float32 runs our kernels; with `--kernels reference`, and on other devices, ATen. Inputs are slices of a larger
// tensor, as those of fused products are.
TEST(Kernels, EqualTheAtenPathsInFloat) {
  const auto results = [](kernels::KernelMode mode) {
    kernels::set_kernel_mode(mode);
    auto x = leaf({11, 100}, 1), weight = leaf({48}, 2);
    const auto gate = x.narrow(1, 0, 48), up = x.narrow(1, 50, 48), heads = gate.view({11, 2, 24});
    const auto angle = normal({11, 8}, 3), direction = normal({11, 48}, 4);
    std::vector<at::Tensor> all = {rms_norm(gate, weight, 1e-6, false).tensor,
                                   gated(gate, up, ActivationKind::silu, {}).tensor,
                                   rotary(heads, angle.cos(), angle.sin()).reshape({11, 48})};
    for (std::size_t i = 0; i < 3; ++i) {
      all.push_back(gradients_of((all[i] * direction).sum(), {x})[0]);
      if (i == 0)
        all.push_back(gradients_of((rms_norm(gate, weight, 1e-6, false).tensor * direction).sum(), {weight})[0]);
    }
    kernels::set_kernel_mode(kernels::KernelMode::automatic);
    return all;
  };
  const auto ours = results(kernels::KernelMode::automatic), aten = results(kernels::KernelMode::reference);
  for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_LT(relative_difference(ours[i], aten[i]), kFloatTolerance) << i;
}

}  // namespace
}  // namespace lorica::model
