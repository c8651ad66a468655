// What several processes do as one: a folder that all of them fill, and how their figures add up. Alone, everything is
// done by the one process.
#pragma once

#include <filesystem>
#include <functional>

#include "engine/engine.hpp"
#include "parallel/world.hpp"

namespace lorica::train {

/// Every process fills `target` under a temporary name (on a file system that all of them share); when all are done, it
/// appears under its own name, complete. `world` null: one process. Throws FileError; PeerError in a process whose part
/// failed after another's had.
void fill_together(parallel::World* world, const std::filesystem::path& target,
                   const std::function<void(const std::filesystem::path&)>& fill);

/// Bytes that a process sent: parameters, gradients, activations.
struct MovedBytes {
  double gather_wait = 0;  ///< seconds spent waiting for parameters
  std::uint64_t gathered = 0, reduced = 0, messages = 0;
};

/// run_folder/processes.json: what each process held and sent, one object each. `moved`: by this process in `steps`
/// steps. Collective; rank 0 writes, and logs a line each.
void write_process_report(parallel::World& world, const engine::Engine& engine, const MovedBytes& moved,
                          std::int64_t steps, const std::filesystem::path& run_folder);

}  // namespace lorica::train
