// Update rules against scalar float64 versions of the papers' formulas, and saving and loading of state. Parity with
// torch.optim run live: parity/test_optim.py.
#include "optim/optimizer.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.hpp"

namespace lorica::optim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

at::Tensor scalar(double value) {
  return at::full({1}, value, at::kDouble);
}

/// Values of a single weight over `updates` updates with gradients g_t = sin(t) + 0.1 w.
std::vector<double> run(const OptimizerOptions& options, int updates, double rate) {
  Optimizer optimizer(options);
  std::vector<TrainableParameter> parameters{{"w", scalar(0.7), scalar(0.0)}};
  std::vector<double> values;
  for (int t = 1; t <= updates; ++t) {
    parameters[0].gradient.fill_(std::sin(t) + 0.1 * parameters[0].value.item<double>());
    optimizer.step(parameters, rate);
    values.push_back(parameters[0].value.item<double>());
  }
  return values;
}

void expect_same(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-12);  // float64 × 20 updates
}

/// Adam (Kingma, Ba 2015), with either kind of weight decay.
std::vector<double> adam_by_hand(const OptimizerOptions& o, int updates, double rate) {
  double w = 0.7, m = 0.0, v = 0.0;
  std::vector<double> values;
  for (int t = 1; t <= updates; ++t) {
    double g = std::sin(t) + 0.1 * w;
    if (o.type == OptimizerKind::adamw)
      w -= rate * o.weight_decay * w;
    else
      g += o.weight_decay * w;
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    w -= rate * (m / (1 - std::pow(o.beta1, t))) / (std::sqrt(v / (1 - std::pow(o.beta2, t))) + o.epsilon);
    values.push_back(w);
  }
  return values;
}

TEST(Optimizer, AdamwDecaysBesideTheMoments) {
  auto options = OptimizerOptions::defaults(OptimizerKind::adamw);
  options.weight_decay = 0.3;
  options.epsilon = 0.01;
  expect_same(run(options, 20, 0.05), adam_by_hand(options, 20, 0.05));
}

TEST(Optimizer, AdamDecaysThroughTheMoments) {
  auto options = OptimizerOptions::defaults(OptimizerKind::adam);
  options.weight_decay = 0.3;
  expect_same(run(options, 20, 0.05), adam_by_hand(options, 20, 0.05));
}

TEST(Optimizer, SgdWithMomentum) {
  auto options = OptimizerOptions::defaults(OptimizerKind::sgd);
  options.momentum = 0.9;
  options.weight_decay = 0.1;
  double w = 0.7, buffer = 0.0;
  std::vector<double> expected;
  for (int t = 1; t <= 20; ++t) {
    buffer = 0.9 * buffer + std::sin(t) + 0.2 * w;
    w -= 0.05 * buffer;
    expected.push_back(w);
  }
  expect_same(run(options, 20, 0.05), expected);
}

TEST(Optimizer, Adadelta) {
  const auto options = OptimizerOptions::defaults(OptimizerKind::adadelta);
  double w = 0.7, square = 0.0, deltas = 0.0;
  std::vector<double> expected;
  for (int t = 1; t <= 20; ++t) {
    const double g = std::sin(t) + 0.1 * w;
    square = 0.9 * square + 0.1 * g * g;
    const double delta = std::sqrt(deltas + 1e-6) / std::sqrt(square + 1e-6) * g;
    deltas = 0.9 * deltas + 0.1 * delta * delta;
    w -= 1.5 * delta;
    expected.push_back(w);
  }
  expect_same(run(options, 20, 1.5), expected);
}

TEST(Optimizer, KeepsTheMomentumsPrecisionInBfloat16) {
  // 0.9 rounded to bfloat16 is 0.8984: over 128 whole numbers some products round differently.
  auto options = OptimizerOptions::defaults(OptimizerKind::sgd);
  options.momentum = 0.9;
  Optimizer optimizer(options);
  const auto first = at::arange(128, 256, at::kFloat);
  std::vector<TrainableParameter> parameters{{"w", at::zeros({128}, at::kBFloat16), first.to(at::kBFloat16)}};
  optimizer.step(parameters, 1.0);
  parameters[0].gradient.zero_();
  optimizer.step(parameters, 1.0);
  const auto buffer = optimizer.state().tensors[0].second;
  EXPECT_TRUE(at::equal(buffer, (first * at::scalar_tensor(0.9, at::kFloat)).to(at::kBFloat16)));
  EXPECT_FALSE(at::equal(buffer, (first * at::scalar_tensor(0.9, at::kBFloat16).to(at::kFloat)).to(at::kBFloat16)));
}

class EachOptimizer : public testing::TestWithParam<OptimizerKind> {
 protected:
  OptimizerOptions options() const {
    auto result = OptimizerOptions::defaults(GetParam());
    result.weight_decay = 0.1;
    result.momentum = 0.9;
    return result;
  }
};

std::vector<TrainableParameter> two_parameters(at::ScalarType dtype) {
  return {{"a", at::arange(6, at::kFloat).reshape({2, 3}).to(dtype), {}}, {"b", at::ones({4}, dtype), {}}};
}

void set_gradients(std::vector<TrainableParameter>& parameters, double seed) {
  for (auto& parameter : parameters) parameter.gradient = (parameter.value * seed).sin();
}

TEST_P(EachOptimizer, ResumesExactly) {
  auto whole = two_parameters(at::kBFloat16);
  Optimizer first(options());
  for (int t = 1; t <= 5; ++t) set_gradients(whole, t), first.step(whole, 0.01);
  std::vector<TrainableParameter> halted{{"a", whole[0].value.clone(), {}}, {"b", whole[1].value.clone(), {}}};
  auto saved = first.state();
  for (auto& [name, tensor] : saved.tensors) tensor = tensor.to(at::kFloat);  // as a checkpoint may hold it
  Optimizer second(options());
  second.load_state(saved, halted);
  for (int t = 6; t <= 10; ++t) {
    set_gradients(whole, t), first.step(whole, 0.01);
    set_gradients(halted, t), second.step(halted, 0.01);
  }
  EXPECT_TRUE(at::equal(whole[0].value, halted[0].value));
  EXPECT_TRUE(at::equal(whole[1].value, halted[1].value));
}

TEST_P(EachOptimizer, CountsItsMemory) {
  auto parameters = two_parameters(at::kBFloat16);
  Optimizer optimizer(options());
  EXPECT_EQ(optimizer.memory_bytes(), 0);
  set_gradients(parameters, 1.0);
  optimizer.step(parameters, 0.01);
  EXPECT_EQ(optimizer.memory_bytes(), 10 * 2 * static_cast<int64_t>(slot_names(options()).size()));
}

TEST_P(EachOptimizer, SkipsWhatHasNoGradient) {
  auto parameters = two_parameters(at::kFloat);
  Optimizer optimizer(options());
  parameters[0].gradient = at::ones({2, 3});
  optimizer.step(parameters, 0.01);
  EXPECT_TRUE(at::equal(parameters[1].value, at::ones({4})));
  EXPECT_THAT(optimizer.state().steps, ElementsAre(std::pair("a", 1), std::pair("b", 0)));
  Optimizer loaded(options());
  loaded.load_state(optimizer.state(), parameters);
  EXPECT_THAT(loaded.state().steps, ElementsAre(std::pair("a", 1), std::pair("b", 0)));
}

TEST_P(EachOptimizer, LeavesNoGraph) {
  std::vector<TrainableParameter> parameters{{"a", at::ones({3}).requires_grad_(true), at::ones({3})}};
  Optimizer optimizer(options());
  optimizer.step(parameters, 0.01);
  EXPECT_TRUE(parameters[0].value.is_leaf());
  EXPECT_FALSE(at::equal(parameters[0].value.detach(), at::ones({3})));
}

INSTANTIATE_TEST_SUITE_P(All, EachOptimizer,
                         testing::Values(OptimizerKind::adamw, OptimizerKind::adam, OptimizerKind::sgd,
                                         OptimizerKind::adadelta),
                         [](const auto& info) { return std::string(config::name_of(info.param)); });

TEST(Optimizer, DecayCanBeTurnedOffForATensor) {
  auto options = OptimizerOptions::defaults(OptimizerKind::adamw);
  options.weight_decay = 0.5;
  std::vector<TrainableParameter> parameters{{"a", at::ones({1}), at::zeros({1})},
                                             {"b", at::ones({1}), at::zeros({1})}};
  parameters[1].decay = false;
  Optimizer(options).step(parameters, 0.1);
  EXPECT_FLOAT_EQ(parameters[0].value.item<float>(), 0.95F);
  EXPECT_EQ(parameters[1].value.item<float>(), 1.0F);
}

class LoadState : public testing::Test {
 protected:
  void SetUp() override {
    set_gradients(parameters_, 1.0);
    optimizer_.step(parameters_, 0.01);
    saved_ = optimizer_.state();
  }
  std::string failure() {
    try {
      optimizer_.load_state(saved_, parameters_);
    } catch (const ModelError& error) {
      return error.what();
    }
    return "no error";
  }
  std::vector<TrainableParameter> parameters_ = two_parameters(at::kFloat);
  Optimizer optimizer_{OptimizerOptions::defaults(OptimizerKind::adamw)};
  OptimizerState saved_;
};

TEST_F(LoadState, NamesAMissingTensor) {
  saved_.tensors.pop_back();
  EXPECT_THAT(failure(), HasSubstr("'b.exp_avg_sq' is missing"));
}

TEST_F(LoadState, NamesAWrongShape) {
  saved_.tensors[0].second = at::zeros({3, 2});
  EXPECT_THAT(failure(), HasSubstr("'a.exp_avg' has shape [3, 2], but the tensor it belongs to [2, 3]"));
}

TEST_F(LoadState, NamesAnUntrainedTensor) {
  saved_.steps.emplace_back("c", 1);
  EXPECT_THAT(failure(), HasSubstr("'c' is not trained in this run"));
}

TEST_F(LoadState, NamesANewTensor) {
  saved_.steps.pop_back();
  EXPECT_THAT(failure(), HasSubstr("nothing saved for trained tensor 'b'"));
}

TEST_F(LoadState, RefusesAnotherOptimizersState) {
  saved_.tensors.emplace_back("a.acc_delta", at::zeros({2, 3}));
  EXPECT_THAT(failure(), HasSubstr("'a.acc_delta' is of no use to optimizer adamw"));
  EXPECT_EQ(optimizer_.state().tensors.size(), 4U);  // unchanged
}

TEST_F(LoadState, TakesNothingAsAFreshStart) {
  saved_ = {};
  EXPECT_EQ(failure(), "no error");
  EXPECT_EQ(optimizer_.memory_bytes(), 0);
}

TEST(Optimizer, RefusesBadOptions) {
  const auto failure = [](OptimizerOptions options) -> std::string {
    try {
      check_optimizer(options);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(failure({.beta1 = 1.0}), HasSubstr("beta1 is 1: it must be at least 0 and below 1"));
  EXPECT_THAT(failure({.beta2 = -0.1}), HasSubstr("beta2"));
  EXPECT_THAT(failure({.epsilon = -1e-8}), HasSubstr("eps"));
  EXPECT_THAT(failure({.weight_decay = NAN}), HasSubstr("wd is nan"));
  EXPECT_THAT(failure({.type = OptimizerKind::sgd, .momentum = -1.0}), HasSubstr("momentum"));
  EXPECT_THAT(failure({.type = OptimizerKind::adadelta, .rho = 1.5}), HasSubstr("rho"));
}

}  // namespace
}  // namespace lorica::optim
