// Which steps the profiler waits for, warms up in and records.
#include "train/profile/schedule.hpp"

#include <gtest/gtest.h>

#include <string>

namespace lorica::train {
namespace {

/// A letter a step: '.' waits, 'w' warms up, 'r' records, 'R' records and ends a recording.
std::string course(const config::Config& config, std::int64_t steps, std::int64_t first = 0) {
  const auto schedule = profiling_schedule(config);
  std::string letters;
  for (auto step = first; step < steps; ++step) {
    const auto phase = schedule.phase(step);
    EXPECT_TRUE(phase == ProfilingSchedule::Phase::record || !schedule.is_last(step)) << step;
    letters += phase == ProfilingSchedule::Phase::wait      ? '.'
               : phase == ProfilingSchedule::Phase::warm_up ? 'w'
               : schedule.is_last(step)                     ? 'R'
                                                            : 'r';
  }
  return letters;
}

TEST(ProfilingSchedule, WithoutRepeatTheFrequencyMakesTheCycles) {
  EXPECT_EQ(course({}, 23), ".......wrR.......wrR...");
  config::Config config;
  config.profiling_frequency = 3;
  EXPECT_EQ(course(config, 7), "wrRwrRw") << "no step is left to wait";
  config.wait_steps = 5;
  EXPECT_EQ(course(config, 7), "wrRwrRw") << "wait_steps counts with repeat only";
}

TEST(ProfilingSchedule, RepeatLimitsTheCycles) {
  config::Config config;
  config.repeat = 2;
  config.wait_steps = 2;
  config.active_steps = 1;
  config.profiling_frequency = 1;
  EXPECT_EQ(course(config, 12), "..wR..wR....");
  config.wait_steps = 0;
  config.profiler_warmup_steps = 0;
  EXPECT_EQ(course(config, 4), "RR..");
}

TEST(ProfilingSchedule, MicroBatchesAreRoundedUpToWholeSteps) {
  config::Config config;
  config.gradient_accumulation_steps = 4;
  EXPECT_EQ(course(config, 8), "..wR..wR") << "7, 1 and 2 micro-batches are 2, 1 and 1 steps";
  config.active_steps = 5;  // leaves 4 to wait
  EXPECT_EQ(course(config, 8), ".wrR.wrR");
}

TEST(ProfilingSchedule, AResumedRunGoesOnCounting) {
  EXPECT_EQ(course({}, 20, 9), course({}, 20).substr(9));
  EXPECT_EQ(course({}, 12, 9).substr(0, 2), "R.") << "it is resumed in the middle of a recording";
}

}  // namespace
}  // namespace lorica::train
