// Which steps of a run are recorded: fsdp_qlora's cycles of waiting, warming up and recording.
#pragma once

#include <cstdint>

#include "config/config.hpp"

namespace lorica::train {

/// Counts are of optimizer steps. The options count micro-batches, as fsdp_qlora does; a trace of half a step would say
/// little, and in a pipeline micro-batches overlap, so each count is rounded up to whole steps.
struct ProfilingSchedule {
  std::int64_t wait = 0, warm_up = 0, active = 1;
  std::int64_t repeat = 0;  ///< cycles; 0: no end

  enum class Phase { wait, warm_up, record };
  /// Of step 0, 1, … of the run; a resumed one goes on counting.
  Phase phase(std::int64_t step) const;
  /// Whether a recording that this step is part of ends with it.
  bool is_last(std::int64_t step) const;
  std::int64_t first_recorded() const { return wait + warm_up; }
  std::int64_t cycle() const { return wait + warm_up + active; }
};

ProfilingSchedule profiling_schedule(const config::Config& config);

}  // namespace lorica::train
