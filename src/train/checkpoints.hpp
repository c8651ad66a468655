// The checkpoints of a run: complete or absent, newest found first, old ones pruned.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "parallel/world.hpp"

namespace lorica::train {

inline constexpr const char* kTrainerStateFile = "trainer_state.json";
inline constexpr const char* kConfigFile = "config.toml";

/// "checkpoint-<step>" folders of `run_folder`, ascending by step.
std::vector<std::pair<std::int64_t, std::filesystem::path>> list_checkpoints(const std::filesystem::path& run_folder);

/// Writes run_folder/checkpoint-<step>: `fill` writes into a temporary folder, `state` is added as trainer_state.json,
/// all is synced, then renamed into place (`world`: every process fills its part, rank 0 does the rest); then all but
/// the newest `keep` (0: all) are removed. Throws FileError (disk full, …); then older checkpoints are as they were.
void save_checkpoint(const std::filesystem::path& run_folder, std::int64_t step, const nlohmann::json& state,
                     std::int64_t keep, const std::function<void(const std::filesystem::path&)>& fill,
                     parallel::World* world = nullptr);

/// A checkpoint's state. Throws ModelError naming the file if it can't be read.
nlohmann::json read_checkpoint_state(const std::filesystem::path& checkpoint);

/// The newest checkpoint that `is_whole` accepts (it throws for a broken one, which is then named in a warning and
/// passed over).
std::optional<std::filesystem::path> newest_checkpoint(
    const std::filesystem::path& run_folder, const std::function<void(const std::filesystem::path&)>& is_whole);

/// True if the folder holds a run: metrics, checkpoints or a final model.
bool holds_run(const std::filesystem::path& folder);

/// Removes what a killed process left half-written (temporary names of base/files.hpp).
void remove_leftovers(const std::filesystem::path& run_folder);

}  // namespace lorica::train
