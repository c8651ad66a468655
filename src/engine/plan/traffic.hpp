// Bytes that a process sends in a step, and the time that a step takes: theory, by the algorithms' own counts.
#pragma once

#include "engine/plan/plan.hpp"

namespace lorica::engine {

/// A ring's count: an all-gather or reduce-scatter of S bytes over N processes sends (N − 1) / N · S, an all-reduce
/// twice that.
StepTraffic step_traffic(const config::Config& config, const ModelShape& model, const ProcessShape& process,
                         const BatchShape& batch);

/// Operations of one process's matrix products in a step of full micro-batches, recomputation included.
double step_flops(const config::Config& config, const ModelShape& model, const ProcessShape& process,
                  const BatchShape& batch);

/// Zero where the device's speed isn't known.
StepTime step_time(const Plan& plan, const config::Config& config);

}  // namespace lorica::engine
