// The unadapted linear layer: gradients of input, weight and bias in every combination of what is trained.
#include "base/error.hpp"
#include "model/gradient_check.hpp"
#include "model/ops/elementwise.hpp"
#include "model/weights.hpp"

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
      const auto& w = trains_weight ? weight.leaf : weight.stored->data;
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
  Weight weight{std::make_shared<quant::StoredWeight>(quant::store(dense, {quant::Kind::nf4, at::kFloat, 64, true})),
                {}};
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

TEST(BlockWeights, NamesAMissingParameter) {
  BlockWeights weights;
  weights.add("norm.weight", weight_of(normal({4}, 1), false));
  EXPECT_FALSE(weights.tensor_or_none("norm.bias").defined());
  EXPECT_THROW(weights.at("norm.bias"), Error);
  EXPECT_FALSE(weights.tensor("norm.weight").requires_grad());
}

}  // namespace
}  // namespace lorica::model
