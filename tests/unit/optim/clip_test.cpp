// Clipping by the global norm: known norms, exact coefficients, and what is said about infinities.
#include "optim/clip.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.hpp"

namespace lorica::optim {
namespace {

using testing::HasSubstr;

/// Gradients of norm 13 over two tensors and one without.
std::vector<TrainableParameter> norm_13() {
  return {{"a", at::zeros({2}), at::tensor({3.0F, 4.0F})},
          {"b", at::zeros({3}), {}},
          {"c", at::zeros({1}), at::tensor({12.0F})}};
}

/// Norm and clipping as the engine puts them together (engine/torch/torch_engine.cpp).
double clip(std::vector<TrainableParameter>& parameters, double max_norm) {
  const double norm = std::sqrt(squared_gradient_norm(parameters));
  if (!std::isfinite(norm)) raise_non_finite(first_non_finite(parameters), norm);
  if (max_norm > 0) scale_gradients(parameters, norm, max_norm);
  return norm;
}

std::string failure(std::vector<TrainableParameter> parameters) {
  try {
    clip(parameters, 1.0);
  } catch (const TrainingError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Clip, ScalesToTheMaximum) {
  auto parameters = norm_13();
  EXPECT_DOUBLE_EQ(clip(parameters, 6.5), 13.0);
  EXPECT_NEAR(parameters[0].gradient[1].item<double>(), 4.0 * 6.5 / (13.0 + 1e-6), 1e-6);
  EXPECT_NEAR(parameters[2].gradient[0].item<double>(), 6.0, 1e-6);
}

TEST(Clip, LeavesSmallGradientsBitForBit) {
  auto parameters = norm_13();
  EXPECT_DOUBLE_EQ(clip(parameters, 14.0), 13.0);
  EXPECT_TRUE(at::equal(parameters[0].gradient, at::tensor({3.0F, 4.0F})));
}

TEST(Clip, OnlyMeasuresWithoutAMaximum) {
  auto parameters = norm_13();
  EXPECT_DOUBLE_EQ(clip(parameters, 0.0), 13.0);
  EXPECT_TRUE(at::equal(parameters[2].gradient, at::tensor({12.0F})));
}

TEST(Clip, AddsUpMixedDtypes) {
  std::vector<TrainableParameter> parameters{{"a", {}, at::tensor({3.0F}).to(at::kBFloat16)},
                                             {"b", {}, at::tensor({4.0F}).to(at::kDouble)},
                                             {"c", {}, at::full({1000}, 256.0F).to(at::kHalf)}};
  // 256² overflows float16: the squares must be taken in float32.
  EXPECT_DOUBLE_EQ(squared_gradient_norm(parameters), std::pow(std::sqrt(65536000.0F), 2.0) + 25.0);
}

TEST(Clip, NothingToClip) {
  std::vector<TrainableParameter> none;
  EXPECT_EQ(clip(none, 1.0), 0.0);
}

TEST(Clip, NamesTheFirstBadTensor) {
  auto parameters = norm_13();
  parameters[2].gradient[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(failure(parameters), HasSubstr("the gradient of 'c' holds an infinity or NaN"));
  parameters[0].gradient[1] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(failure(parameters), HasSubstr("the gradient of 'a' holds an infinity or NaN"));
  EXPECT_EQ(parameters[0].gradient[0].item<float>(), 3.0F);  // untouched
}

TEST(Clip, TellsAnOverflowFromAnInfinity) {
  EXPECT_THAT(failure({{"a", {}, at::full({4}, 3e38F)}}),
              HasSubstr("overflows float32 though every gradient is finite"));
}

}  // namespace
}  // namespace lorica::optim
