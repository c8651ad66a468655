// Learning-rate schedules: see schedule.hpp.
#include "optim/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.hpp"
#include "base/log.hpp"

namespace lorica::optim {
namespace {

constexpr double kDefaultWarmupRatio = 0.1;

double cosine_factor(double floor, double turns) {
  return floor + (1.0 - floor) * 0.5 * (1.0 + std::cos(std::numbers::pi * turns));
}

double restarts_factor(const ScheduleOptions& options, double progress) {
  if (progress >= 1.0) return options.cosine_min_ratio;
  return cosine_factor(options.cosine_min_ratio, std::fmod(options.cosine_cycles * progress, 1.0));
}

double polynomial_factor(const ScheduleOptions& options, double progress) {
  const double end = options.polynomial_end_rate;
  if (progress >= 1.0) return end / options.peak_rate;
  return ((options.peak_rate - end) * std::pow(1.0 - progress, options.polynomial_power) + end) / options.peak_rate;
}

/// transformers' math.ceil: 0.03 of 100 updates are 3, and 0.1 of 31 are 4.
int64_t rounded_up(double steps) {
  return static_cast<int64_t>(std::ceil(steps));
}

void check_range(const char* option, double value, bool fits, const char* expected) {
  if (!fits || !std::isfinite(value)) raise<ConfigError>("{} is {}: it must be {}", option, value, expected);
}

}  // namespace

int64_t resolve_warmup(const WarmupRequest& request, Scheduler type, int64_t total_steps, double steps_per_epoch) {
  if (request.steps.has_value() + request.ratio.has_value() + request.epochs.has_value() > 1) {
    raise<ConfigError>(
        "give only one of warmup_steps, warmup_ratio and warmup_epochs: they are three ways to say the same");
  }
  const auto total = static_cast<double>(total_steps);
  double steps = type == Scheduler::constant ? 0.0 : kDefaultWarmupRatio * total;
  if (request.steps) {
    check_range("warmup_steps", static_cast<double>(*request.steps), *request.steps >= 0, "0 or more");
    steps = static_cast<double>(*request.steps);
  } else if (request.ratio) {
    check_range("warmup_ratio", *request.ratio, *request.ratio >= 0.0 && *request.ratio <= 1.0, "between 0 and 1");
    steps = total * *request.ratio;
  } else if (request.epochs) {
    check_range("warmup_epochs", *request.epochs, *request.epochs >= 0.0, "0 or more");
    steps = *request.epochs * steps_per_epoch;
  }
  const auto resolved = rounded_up(std::min(steps, 9.0e15));
  if (resolved > total_steps) {
    spdlog::warn("the learning rate warms up for {} updates, but the run has {}: it never reaches its peak", resolved,
                 total_steps);
  }
  return resolved;
}

void check_schedule(const ScheduleOptions& options) {
  const auto& o = options;
  check_range("warmup_steps", static_cast<double>(o.warmup_steps), o.warmup_steps >= 0, "0 or more");
  const bool cosine = o.type == Scheduler::cosine || o.type == Scheduler::cosine_with_restarts;
  if (cosine) {
    check_range("cosine_min_lr_ratio", o.cosine_min_ratio, o.cosine_min_ratio >= 0.0 && o.cosine_min_ratio <= 1.0,
                "between 0 and 1");
  }
  if (o.type == Scheduler::cosine_with_restarts) {
    check_range("cosine_cycles", o.cosine_cycles, o.cosine_cycles >= 1.0, "1 or more");
  }
  if (o.type == Scheduler::exponential) {
    check_range("exponential_gamma", o.exponential_gamma, o.exponential_gamma > 0.0 && o.exponential_gamma <= 1.0,
                "greater than 0 and at most 1");
  }
  if (o.type == Scheduler::polynomial) {
    check_range("polynomial_power", o.polynomial_power, o.polynomial_power > 0.0, "greater than 0");
    check_range("polynomial_end_lr", o.polynomial_end_rate,
                o.polynomial_end_rate >= 0.0 && o.polynomial_end_rate < o.peak_rate,
                "0 or more and below the learning rate");
  }
}

double learning_rate_factor(const ScheduleOptions& options, int64_t step, int64_t total_steps) {
  if (step < options.warmup_steps) return static_cast<double>(step) / static_cast<double>(options.warmup_steps);
  const auto decayed = static_cast<double>(step - options.warmup_steps);
  const auto length = static_cast<double>(std::max<int64_t>(1, total_steps - options.warmup_steps));
  // A run whose warm-up fills it has nothing left to decay over: it stands at the end of the schedule.
  const double progress = step >= total_steps ? 1.0 : decayed / length;
  switch (options.type) {
    case Scheduler::constant:
    case Scheduler::constant_with_warmup:
      return 1.0;
    case Scheduler::linear:
      return 1.0 - progress;
    case Scheduler::cosine:
      return cosine_factor(options.cosine_min_ratio, progress);
    case Scheduler::cosine_with_restarts:
      return restarts_factor(options, progress);
    case Scheduler::polynomial:
      return polynomial_factor(options, progress);
    case Scheduler::exponential:
      return std::pow(options.exponential_gamma, decayed);
  }
  raise<Error>("internal error: unknown schedule");
}

}  // namespace lorica::optim
