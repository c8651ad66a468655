// The chunked output layer + loss: equal to ATen's cross entropy for every way of cutting, and within its memory.
#include "model/ops/cross_entropy.hpp"

#include "model/counting_allocator.hpp"
#include "model/gradient_check.hpp"

namespace lorica::model {
namespace {

using test::gradients_of;
using test::normal;
using test::relative_difference;
using test::weight_of;

struct Shape {
  std::int64_t rows, vocabulary, features;
};

at::Tensor labels_for(const Shape& shape, std::uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randint(shape.vocabulary, {shape.rows}, generator, at::TensorOptions().dtype(at::kLong));
}

/// loss, hidden's gradient, weight's gradient: ours.
std::vector<at::Tensor> ours(const at::Tensor& hidden, const Weight& weight, const at::Tensor& labels,
                             std::int64_t chunk_bytes, double scale) {
  auto x = hidden.detach().requires_grad_(true);
  const auto loss = linear_cross_entropy(x, weight, labels, chunk_bytes);
  std::vector<at::Tensor> leaves{x};
  if (weight.trained()) leaves.push_back(weight.leaf);
  auto result = gradients_of(loss * scale, leaves);
  result.insert(result.begin(), loss.detach());
  return result;
}

/// The same by ATen in float64, which stands for exact.
std::vector<at::Tensor> exact(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                              double scale) {
  auto x = hidden.detach().to(at::kDouble).requires_grad_(true);
  auto w = weight.detach().to(at::kDouble).requires_grad_(true);
  const auto loss = at::cross_entropy_loss(at::linear(x, w), labels, {}, at::Reduction::Sum);
  auto result = gradients_of(loss * scale, {x, w});
  result.insert(result.begin(), loss.detach());
  return result;
}

void expect_equal(const std::vector<at::Tensor>& found, const std::vector<at::Tensor>& reference, double tolerance) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_LT(relative_difference(found[i], reference[i]), tolerance) << (i == 0   ? "loss"
                                                                          : i == 1 ? "hidden"
                                                                                   : "weight");
  }
}

TEST(LinearCrossEntropy, EqualsATenForOddShapesAndChunks) {
  for (const Shape shape : {Shape{1, 2, 1}, Shape{7, 101, 13}, Shape{37, 333, 24}, Shape{64, 1000, 48}}) {
    const auto hidden = normal({shape.rows, shape.features}, 1), labels = labels_for(shape, 3);
    for (const bool trained : {false, true}) {
      const auto weight = weight_of(normal({shape.vocabulary, shape.features}, 2), trained);
      const auto reference = exact(hidden, weight.stored->data(), labels, 0.37);
      for (const std::int64_t chunk : {1, 5000, 100000, 1 << 26}) {
        SCOPED_TRACE(
            fmt::format("{} rows, {} classes, chunk {}, trained {}", shape.rows, shape.vocabulary, chunk, trained));
        expect_equal(ours(hidden, weight, labels, chunk, 0.37), reference, 1e-5);
      }
    }
  }
}

// QLoRA on a CPU: the head is stored in bfloat16 and multiplied in float32, in columns that are converted one by one.
TEST(LinearCrossEntropy, Bfloat16StorageWithFloat32Products) {
  const Shape shape{29, 515, 40};
  const auto hidden = normal({shape.rows, shape.features}, 1), labels = labels_for(shape, 3);
  const auto weight = weight_of(normal({shape.vocabulary, shape.features}, 2, at::kBFloat16), false);
  const auto reference = exact(hidden, weight.stored->data(), labels, 1.0);
  for (const std::int64_t chunk : {1, 20000, 60000, 1 << 26}) {
    SCOPED_TRACE(chunk);
    expect_equal(ours(hidden, weight, labels, chunk, 1.0), reference, 1e-5);
  }
}

// A trained bfloat16 head: its gradient is rounded once, not once a chunk (adding 100 chunks up in bfloat16 loses most
// of the later ones). Tolerance: one rounding of the sum, 2⁻⁹, and one of each factor of the product.
TEST(LinearCrossEntropy, ABfloat16HeadsGradientDoesNotDependOnTheChunks) {
  const Shape shape{400, 64, 16};
  const auto hidden = normal({shape.rows, shape.features}, 1), labels = labels_for(shape, 3);
  const auto weight = weight_of(normal({shape.vocabulary, shape.features}, 2, at::kBFloat16), true);
  const auto reference = exact(hidden, weight.stored->data(), labels, 1.0 / 3);
  for (const std::int64_t chunk : {1, 4096, 1 << 26}) {
    SCOPED_TRACE(chunk);
    const auto found = ours(hidden, weight, labels, chunk, 1.0 / 3);
    EXPECT_EQ(found[2].scalar_type(), at::kBFloat16);
    EXPECT_LT(relative_difference(found[2], reference[2]), 3.0 / 512);
  }
}

TEST(LinearCrossEntropy, Bfloat16Throughout) {
  const Shape shape{29, 515, 40};
  const auto hidden = normal({shape.rows, shape.features}, 1, at::kBFloat16), labels = labels_for(shape, 3);
  const auto weight = weight_of(normal({shape.vocabulary, shape.features}, 2, at::kBFloat16), false);
  const auto reference = exact(hidden, weight.stored->data(), labels, 1.0 / 3);
  const auto found = ours(hidden, weight, labels, 60000, 1.0 / 3);
  EXPECT_EQ(found[0].scalar_type(), at::kFloat);
  EXPECT_EQ(found[1].scalar_type(), at::kBFloat16);
  EXPECT_LT(relative_difference(found[0], reference[0]), 4.0 / 256);  // logits rounded to 8 bits, averaged over rows
  EXPECT_LT(relative_difference(found[1], reference[1]), 8.0 / 256);
}

TEST(LinearCrossEntropy, AgreesWithCentralDifferences) {
  const Shape shape{6, 50, 8};
  auto hidden = normal({shape.rows, shape.features}, 1);
  const auto labels = labels_for(shape, 3);
  const auto weight = weight_of(normal({shape.vocabulary, shape.features}, 2), true);
  const auto found = ours(hidden, weight, labels, 3000, 1.0);
  test::expect_directional([&] { return linear_cross_entropy(hidden, weight, labels, 3000).item<double>(); },
                           {hidden, weight.stored->data()}, {found[1], found[2]}, 1e-2);
}

TEST(LinearCrossEntropy, SurvivesExtremeLogits) {
  const auto hidden = at::full({1, 1}, 1e4), labels = at::tensor({1}, at::kLong);
  const auto weight = weight_of(at::tensor({1.0F, -1.0F}).view({2, 1}), false);
  EXPECT_EQ(linear_cross_entropy(hidden, weight, labels, 1 << 20).item<float>(), 2e4F);
}

TEST(LinearCrossEntropy, WithoutGradientsItMakesNone) {
  const auto weight = weight_of(normal({20, 4}, 2), false);
  const auto hidden = test::leaf({3, 4}, 1);
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(linear_cross_entropy(hidden, weight, at::zeros({3}, at::kLong), 1 << 20).requires_grad());
}

// The bar: at most 64 MiB beyond the gradients themselves, at a vocabulary of 152,064 and 4,096 tokens (whose logits in
// float32 would be 2.3 GiB). Few features and 256 rows, so that it is fast: the scratch depends on neither, and 256
// rows are several chunks. With gradients and without (evaluation).
TEST(LinearCrossEntropy, HoldsAtMost64MiB) {
  const Shape shape{256, 152064, 16};
  constexpr std::int64_t kBar = std::int64_t{64} << 20;
  const auto labels = labels_for(shape, 3);
  const auto full = normal({shape.vocabulary, shape.features}, 2, at::kBFloat16);
  for (const auto& [stored, computed] : {std::pair{at::kFloat, at::kFloat}, std::pair{at::kBFloat16, at::kFloat},
                                         std::pair{at::kBFloat16, at::kBFloat16}}) {
    SCOPED_TRACE(fmt::format("{} {}", c10::toString(stored), c10::toString(computed)));
    const auto weight = weight_of(full.to(stored), false);
    auto hidden = normal({shape.rows, shape.features}, 1, computed).requires_grad_(true);
    test::CountingAllocator memory;
    const auto peak = memory.peak_of([&] { linear_cross_entropy(hidden, weight, labels, kBar).backward(); });
    EXPECT_LE(peak - static_cast<std::int64_t>(hidden.nbytes()), kBar);
    EXPECT_GT(peak, kBar / 8) << "the budget is there to be used";
    const at::NoGradGuard no_grad;
    EXPECT_LE(memory.peak_of([&] { linear_cross_entropy(hidden, weight, labels, kBar); }), kBar);
  }
}

}  // namespace
}  // namespace lorica::model
