// The learning-rate schedule that a run's configuration means.
#pragma once

#include <cstdint>

#include "config/config.hpp"
#include "optim/schedule.hpp"

namespace lorica::train {

/// Throws ConfigError if the values contradict each other (a warm-up longer than the run, …).
optim::ScheduleOptions schedule_options(const config::Config& config, std::int64_t total_steps, double steps_per_epoch);

}  // namespace lorica::train
