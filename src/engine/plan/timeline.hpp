// What one process holds from loading to the check of what it saved: the instants at which memory can be at its peak,
// one by one, from the order in which engine/torch walks the blocks.
#pragma once

#include <string>
#include <vector>

#include "engine/memory_estimate.hpp"
#include "engine/plan/activations.hpp"
#include "parallel/mesh.hpp"

namespace lorica::engine {

/// A process's part of a run.
struct ProcessShape {
  parallel::Mesh mesh;
  std::vector<bool> owned;      ///< by block
  std::uint64_t in_flight = 1;  ///< micro-batches × chunks between forward and backward at once
  std::uint64_t chunks = 1;
  std::uint64_t micro_batches = 1;  ///< of a step
  DeviceKind device = DeviceKind::cpu;
};

/// The estimate at the instant of the peak. `batch` is the heaviest micro-batch of training, `evaluation` that of
/// evaluations.
MemoryEstimate estimate_process(const config::Config& config, const ModelShape& model, const ProcessShape& process,
                                const BatchShape& batch, const BatchShape& evaluation);

}  // namespace lorica::engine
