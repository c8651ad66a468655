#include "train/schedule_options.hpp"

namespace lorica::train {

optim::ScheduleOptions schedule_options(const config::Config& config, std::int64_t total_steps,
                                        double steps_per_epoch) {
  optim::ScheduleOptions options;
  options.type = config.lr_scheduler;
  options.peak_rate = config.lr;
  options.cosine_min_ratio = config.cosine_min_lr_ratio;
  options.cosine_cycles = static_cast<double>(config.cosine_cycles);
  options.polynomial_end_rate = config.polynomial_end_lr;
  options.polynomial_power = config.polynomial_power;
  options.exponential_gamma = config.exponential_gamma;
  options.warmup_steps = optim::resolve_warmup({config.warmup_steps, config.warmup_ratio, config.warmup_epochs},
                                               options.type, total_steps, steps_per_epoch);
  optim::check_schedule(options);
  return options;
}

}  // namespace lorica::train
