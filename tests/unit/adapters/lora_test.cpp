// The LoRA layer: against its formula under autograd and finite differences, with dropout, bias, quantized base and
// recipes; its start values and its merged form.
#include "adapters/lora.hpp"

#include "model/counting_allocator.hpp"
#include "model/gradient_check.hpp"
#include "model/ops/elementwise.hpp"

namespace lorica::adapters {
namespace {

using test::expect_gradients;
using test::gradients_of;
using test::normal;
using test::relative_difference;
using test::weight_of;

constexpr std::int64_t kRows = 6, kIn = 10, kOut = 7, kRank = 3;
constexpr std::uint64_t kModule = 99;

struct Layer {
  model::BlockWeights weights;
  model::Pass pass;
  at::Tensor a, b, bias;  // leaves

  at::Tensor forward(const model::Value& x) const { return weights.linear("proj", x, pass); }
  at::Tensor base() const { return weights.at("proj.weight").stored->data(); }
};

Layer make_layer(double dropout, bool bias, at::ScalarType dtype = at::kDouble, double scaling = 0.37) {
  Layer layer;
  layer.weights.set_adapter("proj", std::make_shared<LoraAdapter>(scaling, dropout, kModule));
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, std::uint64_t seed, bool trained) {
    const auto weight = weight_of(normal(std::move(shape), seed, dtype), trained);
    layer.weights.add(name, weight);
    return weight.leaf;
  };
  add("proj.weight", {kOut, kIn}, 1, false);
  layer.a = add("proj.lora_A.weight", {kRank, kIn}, 2, true);
  layer.b = add("proj.lora_B.weight", {kOut, kRank}, 3, true);
  if (bias) layer.bias = add("proj.bias", {kOut}, 4, true);
  auto rows = std::make_shared<model::DropoutRows>();
  for (std::int64_t i = 0; i < kRows; ++i) {
    rows->examples.push_back(5);
    rows->positions.push_back(i);
  }
  layer.pass.dropout = rows;
  return layer;
}

/// y = x Wᵀ + bias + s · (x ⊙ mask) Aᵀ Bᵀ, by autograd.
at::Tensor composed(const Layer& layer, const at::Tensor& x, double dropout, double scaling = 0.37) {
  auto dropped = x;
  if (dropout > 0) {
    dropped = x * model::dropout_mask(*layer.pass.dropout, kModule, dropout, kIn, at::kCPU).to(x.scalar_type());
  }
  return at::linear(x, layer.base(), layer.bias) + at::linear(at::linear(dropped, layer.a), layer.b) * scaling;
}

TEST(Lora, EqualsItsFormulaAndFiniteDifferences) {
  for (const double dropout : {0.0, 0.4}) {
    for (const bool bias : {false, true}) {
      for (const bool trains_x : {false, true}) {
        SCOPED_TRACE(fmt::format("dropout {}, bias {}, gradient of x {}", dropout, bias, trains_x));
        const auto layer = make_layer(dropout, bias);
        auto x = normal({kRows, kIn}, 6, at::kDouble).requires_grad_(trains_x);
        const auto direction = normal({kRows, kOut}, 7, at::kDouble);
        const auto loss = [&] { return (layer.forward({x, {}}).tanh() * direction).sum(); };
        std::vector<at::Tensor> leaves{layer.a, layer.b};
        if (bias) leaves.push_back(layer.bias);
        if (trains_x) leaves.push_back(x);
        expect_gradients(loss, leaves);
        const auto ours = gradients_of(loss(), leaves);
        const auto theirs = gradients_of((composed(layer, x, dropout).tanh() * direction).sum(), leaves);
        for (std::size_t i = 0; i < leaves.size(); ++i) EXPECT_LT(relative_difference(ours[i], theirs[i]), 1e-12) << i;
      }
    }
  }
}

TEST(Lora, OverAQuantizedBase) {
  auto layer = make_layer(0.2, true, at::kFloat);
  const auto dense = normal({kOut, kIn}, 1);
  auto stored = quant::store(dense, {"nf4", at::kFloat, 32, true});
  layer.weights.add("proj.weight", {std::make_shared<quant::StoredWeight>(stored), {}});
  auto x = test::leaf({kRows, kIn}, 6);
  const auto direction = normal({kRows, kOut}, 7);
  const std::vector<at::Tensor> leaves{x, layer.a, layer.b, layer.bias};
  const auto ours = gradients_of((layer.forward({x, {}}) * direction).sum(), leaves);
  auto seen = make_layer(0.2, true, at::kFloat);
  seen.weights.add("proj.weight", weight_of(quant::dequantize(stored, at::kFloat), false));
  const std::vector<at::Tensor> same{x, seen.a, seen.b, seen.bias};
  const auto theirs = gradients_of((composed(seen, x, 0.2) * direction).sum(), same);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_LT(relative_difference(ours[i], theirs[i]), 1e-6) << i;  // 16 · 6e-8
}

// s = alpha / sqrt(r) is no bfloat16 number: rounding it would bend every gradient the same way. All gradients are then
// off by up to 0.2 %; random rounding of single products averages out in the projection on the exact gradient.
TEST(Lora, Bfloat16KeepsTheScaleExact) {
  const double scaling = 1.00195;  // bfloat16 would make it 1
  auto layer = make_layer(0, false, at::kBFloat16, scaling);
  auto exact = make_layer(0, false, at::kDouble, scaling);
  for (auto* part : {&exact.a, &exact.b}) {
    part->detach().copy_(part == &exact.a ? layer.a : layer.b);
  }
  exact.base().copy_(layer.base());
  const auto x = normal({kRows, kIn}, 6, at::kBFloat16);
  const auto y = layer.forward({x, {}});
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_LT(relative_difference(y, composed(exact, x.to(at::kDouble), 0, scaling)), 3.0 / 256);
  // One row, one feature in, rank 1, all ones: the gradients are the scale itself.
  model::BlockWeights weights;
  const auto one = at::ones({1, 1}, at::kBFloat16);
  const auto a = weight_of(one.to(at::kFloat), true), b = weight_of(one.to(at::kFloat), true);
  weights.add("proj.weight", weight_of(one.clone(), false));
  weights.add("proj.lora_A.weight", a);
  weights.add("proj.lora_B.weight", b);
  const model::Pass pass;
  const double fine = 1.0 + 1.0 / 1024;
  weights.set_adapter("proj", std::make_shared<LoraAdapter>(fine, 0, kModule));
  const auto result = weights.linear("proj", {one, {}}, pass);
  EXPECT_EQ(gradients_of(result.sum(), {b.leaf})[0].item<double>(), fine);
}

TEST(Lora, ARecipeGivesTheSameGradientsAndHoldsLess) {
  for (const double dropout : {0.0, 0.3}) {
    std::vector<std::vector<at::Tensor>> found;
    std::vector<std::int64_t> held;
    for (const bool selective : {false, true}) {
      const auto layer = make_layer(dropout, false, at::kFloat);
      auto hidden = test::leaf({kRows, kIn}, 6);
      const auto norm = normal({kIn}, 8);
      test::CountingAllocator memory;
      at::Tensor y;
      held.push_back(memory.held_by([&] { y = layer.forward(model::rms_norm(hidden, norm, 1e-6, selective)); }));
      found.push_back(gradients_of(y.square().sum(), {hidden, layer.a, layer.b}));
    }
    // The normed input is made anew.
    EXPECT_LE(held[1], held[0] - kRows * kIn * static_cast<std::int64_t>(sizeof(float)));
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(found[0][i].equal(found[1][i])) << i;
  }
}

TEST(Lora, DropsNothingInEvaluation) {
  auto layer = make_layer(0.5, false, at::kFloat);
  const auto x = normal({kRows, kIn}, 6);
  const auto dropped = layer.forward({x, {}});
  layer.pass.dropout = nullptr;
  const auto whole = layer.forward({x, {}});
  EXPECT_FALSE(dropped.equal(whole));
  EXPECT_LT(relative_difference(whole, composed(layer, x, 0)), 1e-6);
}

TEST(Lora, BaseWithoutAdapterWhenBIsZero) {
  auto layer = make_layer(0.5, true, at::kFloat);
  layer.b.detach().zero_();
  const auto x = normal({kRows, kIn}, 6);
  EXPECT_TRUE(layer.forward({x, {}}).equal(at::linear(x, layer.base(), layer.bias)));
}

TEST(Lora, StartsAsPeftDoes) {
  const auto a = initial_lora_a(16, 256, 1);
  EXPECT_TRUE(a.equal(initial_lora_a(16, 256, 1)));
  EXPECT_FALSE(a.equal(initial_lora_a(16, 256, 2)));
  const double bound = 1.0 / 16;  // 1 / sqrt(256)
  EXPECT_LT(a.abs().max().item<double>(), bound);
  EXPECT_GT(a.abs().max().item<double>(), 0.99 * bound);
  // Uniform: mean 0 ± 5 · (bound / √3) / √4096; variance bound² / 3 within 10 %.
  EXPECT_NEAR(a.mean().item<double>(), 0, 5 * bound / std::sqrt(3.0 * 4096));
  EXPECT_NEAR(a.square().mean().item<double>(), bound * bound / 3, bound * bound / 30);
}

TEST(Lora, TheDeltaIsWhatTheLayerAdds) {
  const auto layer = make_layer(0, false, at::kFloat);
  const auto x = normal({kRows, kIn}, 6);
  const auto merged = layer.base() + lora_delta(layer.a.detach(), layer.b.detach(), 0.37);
  EXPECT_LT(relative_difference(at::linear(x, merged), layer.forward({x, {}})), 1e-6);
  EXPECT_EQ(lora_delta(layer.a.detach().to(at::kBFloat16), layer.b.detach(), 1).scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace lorica::adapters
