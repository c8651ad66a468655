#include "train/profile/schedule.hpp"

#include "base/error.hpp"

namespace lorica::train {

ProfilingSchedule::Phase ProfilingSchedule::phase(std::int64_t step) const {
  if (repeat > 0 && step >= repeat * cycle()) return Phase::wait;
  const auto position = step % cycle();
  return position < wait ? Phase::wait : position < wait + warm_up ? Phase::warm_up : Phase::record;
}

bool ProfilingSchedule::is_last(std::int64_t step) const {
  return phase(step) == Phase::record && step % cycle() == cycle() - 1;
}

ProfilingSchedule profiling_schedule(const config::Config& config) {
  const auto whole_steps = [&](std::int64_t micro_batches) {
    return (micro_batches + config.gradient_accumulation_steps - 1) / config.gradient_accumulation_steps;
  };
  const auto busy = config.profiler_warmup_steps + config.active_steps;
  const auto wait = config.repeat > 0 ? config.wait_steps : config.profiling_frequency - busy;
  ensure(wait >= 0 && config.active_steps > 0, "a profiler's cycle of {} + {} micro-batches", wait, busy);
  return {whole_steps(wait), whole_steps(config.profiler_warmup_steps), whole_steps(config.active_steps),
          config.repeat};
}

}  // namespace lorica::train
