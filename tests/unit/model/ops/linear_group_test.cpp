// Linear layers, alone and in groups: gradients of input, weight, bias and low-rank terms in every combination of what
// is trained; the kernels against ATen's operations; what is kept for backward.
#include "model/ops/linear_group.hpp"
#include "base/error.hpp"
#include "kernels/mode.hpp"
#include "model/gradient_check.hpp"
#include "model/ops/elementwise.hpp"

namespace lorica::model {
namespace {

using test::expect_gradients;
using test::gradients_of;
using test::leaf;
using test::normal;
using test::relative_difference;
using test::weight_of;

TEST(BaseLinear, EveryCombinationOfTrainedPartsMatchesFiniteDifferences) {
  for (int mask = 1; mask < 8; ++mask) {
    const bool trains_x = (mask & 1) != 0, trains_weight = (mask & 2) != 0, trains_bias = (mask & 4) != 0;
    SCOPED_TRACE(mask);
    const auto weight = weight_of(normal({5, 7}, 1, at::kDouble), trains_weight);
    auto x = normal({4, 7}, 2, at::kDouble).requires_grad_(trains_x);
    auto bias = normal({5}, 3, at::kDouble).requires_grad_(trains_bias);
    const auto direction = normal({4, 5}, 4, at::kDouble);
    const auto loss = [&] { return (base_linear({x, {}}, weight, bias).tanh() * direction).sum(); };
    std::vector<at::Tensor> leaves;
    if (trains_x) leaves.push_back(x);
    if (trains_weight) leaves.push_back(weight.leaf);
    if (trains_bias) leaves.push_back(bias);
    expect_gradients(loss, leaves);
    const auto theirs = [&] {
      const auto& w = trains_weight ? weight.leaf : weight.stored->data();
      return gradients_of((at::linear(x, w, bias).tanh() * direction).sum(), leaves);
    }();
    const auto ours = gradients_of(loss(), leaves);
    for (std::size_t i = 0; i < leaves.size(); ++i) EXPECT_LT(relative_difference(ours[i], theirs[i]), 1e-12);
  }
}

TEST(BaseLinear, WithoutABias) {
  const auto weight = weight_of(normal({5, 7}, 1, at::kDouble), true);
  auto x = leaf({4, 7}, 2, at::kDouble);
  expect_gradients([&] { return base_linear({x, {}}, weight, {}).square().sum(); }, {x, weight.leaf}, 1e-6);
}

TEST(BaseLinear, OverAQuantizedWeight) {
  const auto dense = normal({48, 64}, 1);
  Weight weight{std::make_shared<quant::StoredWeight>(quant::store(dense, {"nf4", at::kFloat, 64, true})), {}};
  auto x = leaf({3, 64}, 2), bias = leaf({48}, 3);
  const auto direction = normal({3, 48}, 4);
  const auto seen = quant::dequantize(*weight.stored, at::kFloat);
  const auto ours = gradients_of((base_linear({x, {}}, weight, bias) * direction).sum(), {x, bias});
  const auto theirs = gradients_of((at::linear(x, seen, bias) * direction).sum(), {x, bias});
  for (std::size_t i = 0; i < 2; ++i) EXPECT_LT(relative_difference(ours[i], theirs[i]), 4e-6);  // 64 · 6e-8
}

// Full fine-tuning keeps the input for the weight's gradient: as a recipe it must give the same one.
TEST(BaseLinear, ARecipeGivesTheSameWeightGradient) {
  auto hidden = leaf({6, 16}, 1);
  const auto norm = normal({16}, 2);
  const auto direction = normal({6, 5}, 3);
  std::vector<std::vector<at::Tensor>> found;
  for (const bool selective : {false, true}) {
    const auto weight = weight_of(normal({5, 16}, 4), true);
    const auto y = base_linear(rms_norm(hidden, norm, 1e-6, selective), weight, {});
    found.push_back(gradients_of((y * direction).sum(), {hidden, weight.leaf}));
  }
  EXPECT_TRUE(found[0][0].equal(found[1][0]));
  EXPECT_TRUE(found[0][1].equal(found[1][1]));
}

// A bfloat16 weight under float32 activations (what QLoRA's dense layers are on a CPU without bfloat16 products).
TEST(BaseLinear, TheWeightGradientHasTheWeightsDtype) {
  const auto weight = weight_of(normal({5, 16}, 1, at::kBFloat16), true);
  auto x = leaf({6, 16}, 2);
  const auto gradients = gradients_of(base_linear({x, {}}, weight, {}).sum(), {x, weight.leaf});
  EXPECT_EQ(gradients[0].scalar_type(), at::kFloat);
  EXPECT_EQ(gradients[1].scalar_type(), at::kBFloat16);
  EXPECT_LT(relative_difference(gradients[1], x.sum(0).expand({5, 16})), 1.0 / 256);
}

// The dense form of a quantized weight must not live from forward to backward: the node keeps the packed parts alone.
TEST(BaseLinear, KeepsThePackedWeightForBackward) {
  auto stored = std::make_shared<quant::StoredWeight>(quant::store(normal({64, 64}, 1), {"nf4", at::kFloat, 64, true}));
  auto x = leaf({2, 64}, 2);
  const auto y = base_linear({x, {}}, {stored, {}}, {});
  EXPECT_EQ(stored->data().use_count(), 1);
  // Backward reads the packed bytes when it runs: change them between forward and backward and the gradient follows.
  stored->data().fill_(0xFF);  // every code 15, whose value is the block's absmax
  const auto gradient = gradients_of(y.sum(), {x})[0];
  const auto expected = at::matmul(at::ones({2, 64}), quant::dequantize(*stored, at::kFloat));
  EXPECT_LT(relative_difference(gradient, expected), 1e-6);
}

TEST(BaseLinear, RefusesShapesThatDoNotFit) {
  const auto weight = weight_of(normal({6, 10}, 1), false);
  EXPECT_THROW(base_linear({normal({3, 6}, 2), {}}, weight, {}), Error);
  EXPECT_THROW(base_linear({normal({2, 3, 10}, 2), {}}, weight, {}), Error);
}

/// Layers of different widths over one input, with and without biases and low-rank terms.
struct Group {
  std::vector<LinearMember> members;
  std::vector<at::Tensor> leaves;

  Group(const std::vector<std::int64_t>& widths, std::int64_t in, const std::string& kind, bool trains_weights,
        double dropout, std::int64_t rows, at::ScalarType dtype = at::kFloat) {
    auto keys = std::make_shared<DropoutRows>();
    for (std::int64_t i = 0; i < rows; ++i) {
      keys->examples.push_back(3);
      keys->positions.push_back(i);
    }
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const auto seed = 10 * (i + 1);
      const auto dense = normal({widths[i], in}, seed, dtype);
      LinearMember member;
      if (kind == "dense") {
        member.weight = weight_of(dense, trains_weights);
      } else {
        member.weight.stored = std::make_shared<quant::StoredWeight>(quant::store(dense, {kind, at::kFloat, 64, true}));
      }
      if (trains_weights) leaves.push_back(member.weight.leaf);
      if (i % 2 == 0) leaves.push_back(member.bias = leaf({widths[i]}, seed + 1, dtype));
      if (i != 1) {  // one without an adapter
        member.low_rank = LowRank{leaf({4, in}, seed + 2, dtype), leaf({widths[i], 4}, seed + 3, dtype), 0.75,
                                  Dropout(keys, i, dropout)};
        leaves.push_back(member.low_rank->a);
        leaves.push_back(member.low_rank->b);
      }
      members.push_back(std::move(member));
    }
  }

  /// A loss over all outputs, and its gradients with x's first. `only`: of the first output.
  std::vector<at::Tensor> run(at::Tensor x, bool only = false) const {
    const auto outputs = linear_group({x, {}}, members);
    auto loss = (outputs[0] * normal(outputs[0].sizes().vec(), 7, x.scalar_type())).sum();
    for (std::size_t i = 1; i < outputs.size() && !only; ++i) {
      loss = loss + (outputs[i] * normal(outputs[i].sizes().vec(), 7 + i, x.scalar_type())).sum();
    }
    auto all = leaves;
    if (x.requires_grad()) all.insert(all.begin(), x);
    auto result = gradients_of(loss, all);
    result.push_back(loss.detach());
    return result;
  }
};

TEST(LinearGroup, MatchesFiniteDifferences) {
  for (const double dropout : {0.0, 0.3}) {
    const Group group({5, 3, 4}, 6, "dense", true, dropout, 7, at::kDouble);
    auto x = leaf({7, 6}, 1, at::kDouble);
    auto leaves = group.leaves;
    leaves.push_back(x);
    expect_gradients(
        [&] {
          auto loss = at::zeros({}, at::kDouble);
          for (const auto& y : linear_group({x, {}}, group.members)) loss = loss + y.tanh().square().sum();
          return loss;
        },
        leaves);
  }
}

// 40 rows, so that dense weights go through the kernel as well. A sum of up to 130 products of normal numbers, taken in
// another order, differs by some sqrt(130) · 6e-8 of its size; gradients sum over two such.
TEST(LinearGroup, TheKernelEqualsTheComposition) {
  for (const std::string kind : {"dense", "nf4", "int8"}) {
    for (const bool trains_weights : {false, true}) {
      if (trains_weights && kind != "dense") continue;
      for (const double dropout : {0.0, 0.3}) {
        for (const bool trains_x : {false, true}) {
          for (const bool only : {false, true}) {
            SCOPED_TRACE(fmt::format("{}, weights {}, dropout {}, x {}, only {}", kind, trains_weights, dropout,
                                     trains_x, only));
            const Group group({48, 33, 70}, 128, kind, trains_weights, dropout, 40);
            const auto x = normal({40, 128}, 1).requires_grad_(trains_x);
            const auto ours = group.run(x, only);
            kernels::set_kernel_mode(kernels::KernelMode::reference);
            const auto theirs = group.run(x, only);
            kernels::set_kernel_mode(kernels::KernelMode::automatic);
            for (std::size_t i = 0; i < ours.size(); ++i) {
              ASSERT_EQ(ours[i].defined(), theirs[i].defined()) << i;
              if (!ours[i].defined()) continue;
              EXPECT_LT(relative_difference(ours[i], theirs[i]), 5e-6) << i;
            }
          }
        }
      }
    }
  }
}

TEST(LinearGroup, TogetherOrAloneIsTheSame) {
  const Group group({48, 33, 70}, 128, "nf4", false, 0, 40);
  const auto x = normal({40, 128}, 1);
  const auto together = linear_group({x, {}}, group.members);
  for (std::size_t i = 0; i < together.size(); ++i) {
    EXPECT_TRUE(together[i].equal(linear_group({x, {}}, {group.members[i]}).front())) << i;
  }
}

TEST(BlockWeights, NamesAMissingParameter) {
  BlockWeights weights;
  weights.add("norm.weight", weight_of(normal({4}, 1), false));
  EXPECT_FALSE(weights.tensor_or_none("norm.bias").defined());
  EXPECT_THROW(weights.at("norm.bias"), Error);
  EXPECT_FALSE(weights.tensor("norm.weight").requires_grad());
}

}  // namespace
}  // namespace lorica::model
