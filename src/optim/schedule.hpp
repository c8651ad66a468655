// Learning-rate schedules: the factor that the peak learning rate is multiplied by at each update. Free of Torch.
//
// linear, cosine, polynomial and constant are those of transformers; cosine adds a floor, cosine_with_restarts falls to
// it after the last cycle, exponential decays by `gamma` each update (the formulas of the fsdp_qlora trainer).
#pragma once

#include <cstdint>
#include <optional>

#include "config/vocabulary.hpp"

namespace lorica::optim {

using config::Scheduler;

struct ScheduleOptions {
  Scheduler type = Scheduler::constant;
  int64_t warmup_steps = 0;       ///< already resolved: see resolve_warmup
  double peak_rate = 1e-5;        ///< the learning rate that the factor multiplies; polynomial needs it for end_rate
  double cosine_min_ratio = 0.1;  ///< cosine, cosine_with_restarts: the floor, as a share of the peak
  double cosine_cycles = 3.0;     ///< cosine_with_restarts: hard restarts + 1
  double polynomial_end_rate = 1e-7;  ///< polynomial: the final learning rate itself
  double polynomial_power = 1.0;
  double exponential_gamma = 0.99;  ///< exponential: the factor from one update to the next
};

/// How long to warm up. At most one of the three is set; with none, 10 % of the updates, or nothing for constant
/// (constant_with_warmup has its 10 %).
struct WarmupRequest {
  std::optional<int64_t> steps = {};  ///< updates
  std::optional<double> ratio = {};   ///< share of all updates, in [0, 1]
  std::optional<double> epochs = {};  ///< passes over the data
};

/// Updates of warm-up, rounded up as transformers does. Throws ConfigError when more than one is given or a value is
/// out of range.
int64_t resolve_warmup(const WarmupRequest& request, Scheduler type, int64_t total_steps, double steps_per_epoch);

/// Throws ConfigError naming the option (as the command line spells it) when a value makes no schedule: polynomial with
/// an end rate not below the peak, gamma outside (0, 1], a ratio outside [0, 1], fewer than 1 cycle, a negative power.
void check_schedule(const ScheduleOptions& options);

/// The factor for the update that follows `step` completed ones (0 = the first). During warm-up it is step /
/// warmup_steps, so that the first update of a warmed-up run has factor 0. `total_steps` is the length of the run in
/// updates.
double learning_rate_factor(const ScheduleOptions& options, int64_t step, int64_t total_steps);

}  // namespace lorica::optim
