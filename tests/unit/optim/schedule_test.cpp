// The schedules at their landmarks, and the warm-up resolver. Parity with transformers: parity/test_optim.py.
#include "optim/schedule.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.hpp"

namespace lorica::optim {
namespace {

using testing::HasSubstr;

ScheduleOptions schedule(Scheduler type, int64_t warmup = 10) {
  ScheduleOptions options;
  options.type = type;
  options.warmup_steps = warmup;
  return options;
}

template <class Action>
std::string failure(Action&& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Schedule, AllWarmUpLinearlyFromZero) {
  for (const auto& word : config::words_of(Scheduler{})) {
    const auto options = schedule(word.value);
    EXPECT_EQ(learning_rate_factor(options, 0, 100), 0.0) << word.name;
    EXPECT_EQ(learning_rate_factor(options, 5, 100), 0.5) << word.name;
    EXPECT_EQ(learning_rate_factor(options, 10, 100), 1.0) << word.name;
  }
}

TEST(Schedule, ConstantStaysAtThePeak) {
  EXPECT_EQ(learning_rate_factor(schedule(Scheduler::constant, 0), 0, 100), 1.0);
  EXPECT_EQ(learning_rate_factor(schedule(Scheduler::constant, 0), 99, 100), 1.0);
  EXPECT_EQ(learning_rate_factor(schedule(Scheduler::constant_with_warmup), 99, 100), 1.0);
}

TEST(Schedule, LinearFallsToZero) {
  const auto options = schedule(Scheduler::linear);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 55, 100), 0.5);
  EXPECT_EQ(learning_rate_factor(options, 100, 100), 0.0);
  EXPECT_EQ(learning_rate_factor(options, 150, 100), 0.0);
}

TEST(Schedule, CosineFallsToItsFloor) {
  auto options = schedule(Scheduler::cosine);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 55, 100), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 100, 100), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 150, 100), 0.1);
  options.cosine_min_ratio = 0.0;
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 55, 100), 0.5);
}

TEST(Schedule, RestartsReturnToThePeak) {
  auto options = schedule(Scheduler::cosine_with_restarts);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 25, 100), 0.55);  // the middle of the first of three cycles
  EXPECT_NEAR(learning_rate_factor(options, 39, 100), 0.1 + 0.9 * 0.5 * (1.0 + std::cos(M_PI * 29.0 / 30.0)), 1e-12);
  EXPECT_NEAR(learning_rate_factor(options, 71, 100), 0.1 + 0.9 * 0.5 * (1.0 + std::cos(M_PI / 30.0)), 1e-12);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 100, 100), 0.1);
}

TEST(Schedule, PolynomialEndsAtItsRate) {
  auto options = schedule(Scheduler::polynomial);
  options.peak_rate = 1e-3;
  options.polynomial_end_rate = 1e-4;
  options.polynomial_power = 2.0;
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 55, 100), (9e-4 * 0.25 + 1e-4) / 1e-3);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 100, 100), 0.1);
}

TEST(Schedule, ExponentialDecaysEachUpdate) {
  const auto options = schedule(Scheduler::exponential);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 30, 100), std::pow(0.99, 20));
}

TEST(Schedule, AWarmUpAsLongAsTheRunEndsAtTheEnd) {
  EXPECT_EQ(learning_rate_factor(schedule(Scheduler::linear, 100), 100, 100), 0.0);
  EXPECT_EQ(learning_rate_factor(schedule(Scheduler::linear, 100), 99, 100), 0.99);
  auto options = schedule(Scheduler::polynomial, 100);
  EXPECT_DOUBLE_EQ(learning_rate_factor(options, 100, 100), options.polynomial_end_rate / options.peak_rate);
}

TEST(Warmup, IsATenthUnlessConstant) {
  EXPECT_EQ(resolve_warmup({}, Scheduler::cosine, 129, 10.0), 13);
  EXPECT_EQ(resolve_warmup({}, Scheduler::constant, 129, 10.0), 0);
  EXPECT_EQ(resolve_warmup({}, Scheduler::constant_with_warmup, 129, 10.0), 13);
}

// As math.ceil of transformers' TrainingArguments.get_warmup_steps.
TEST(Warmup, RoundsUp) {
  EXPECT_EQ(resolve_warmup({.ratio = 0.03}, Scheduler::cosine, 100, 10.0), 3);
  EXPECT_EQ(resolve_warmup({.ratio = 0.03}, Scheduler::cosine, 101, 10.0), 4);
  EXPECT_EQ(resolve_warmup({.ratio = 1e-9}, Scheduler::constant, 101, 10.0), 1);
  EXPECT_EQ(resolve_warmup({.epochs = 0.25}, Scheduler::linear, 100, 9.0), 3);
}

TEST(Warmup, TakesStepsRatioOrEpochs) {
  EXPECT_EQ(resolve_warmup({.steps = 7}, Scheduler::constant, 100, 10.0), 7);
  EXPECT_EQ(resolve_warmup({.ratio = 0.255}, Scheduler::linear, 100, 10.0), 26);
  EXPECT_EQ(resolve_warmup({.epochs = 1.5}, Scheduler::linear, 100, 10.0), 15);
  EXPECT_EQ(resolve_warmup({.steps = 0}, Scheduler::linear, 100, 10.0), 0);
}

TEST(Warmup, RefusesTwoKindsAndBadValues) {
  const auto resolve = [](WarmupRequest request) {
    return failure([&] { resolve_warmup(request, Scheduler::linear, 100, 10.0); });
  };
  EXPECT_THAT(resolve({.steps = 1, .ratio = 0.5}),
              HasSubstr("only one of warmup_steps, warmup_ratio and warmup_epochs"));
  EXPECT_THAT(resolve({.ratio = 1.5}), HasSubstr("warmup_ratio is 1.5"));
  EXPECT_THAT(resolve({.steps = -1}), HasSubstr("warmup_steps is -1"));
  EXPECT_THAT(resolve({.epochs = NAN}), HasSubstr("warmup_epochs is nan"));
}

TEST(Schedule, RefusesBadOptions) {
  const auto check = [](ScheduleOptions options) { return failure([&] { check_schedule(options); }); };
  auto options = schedule(Scheduler::polynomial);
  options.peak_rate = 1e-7;
  EXPECT_THAT(check(options),
              HasSubstr("polynomial_end_lr is 1e-07: it must be 0 or more and below the learning rate"));
  options = schedule(Scheduler::cosine);
  options.cosine_min_ratio = 1.5;
  EXPECT_THAT(check(options), HasSubstr("cosine_min_lr_ratio is 1.5"));
  options = schedule(Scheduler::cosine_with_restarts);
  options.cosine_cycles = 0;
  EXPECT_THAT(check(options), HasSubstr("cosine_cycles is 0"));
  options = schedule(Scheduler::exponential);
  options.exponential_gamma = 1.01;
  EXPECT_THAT(check(options), HasSubstr("exponential_gamma is 1.01"));
  EXPECT_EQ(check(schedule(Scheduler::linear)), "no error");
}

}  // namespace
}  // namespace lorica::optim
