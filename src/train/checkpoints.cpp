#include "train/checkpoints.hpp"

#include <algorithm>
#include <charconv>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "io/json.hpp"
#include "train/metrics/jsonl.hpp"
#include "train/together.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

constexpr std::string_view kPrefix = "checkpoint-";

void prune(const fs::path& run_folder, std::int64_t keep) {
  auto all = list_checkpoints(run_folder);
  if (keep <= 0) return;
  while (static_cast<std::int64_t>(all.size()) > keep) {
    std::error_code error;
    fs::remove_all(all.front().second, error);
    if (error) spdlog::warn("{}: can't remove this old checkpoint: {}", all.front().second.string(), error.message());
    all.erase(all.begin());
  }
}

}  // namespace

std::vector<std::pair<std::int64_t, fs::path>> list_checkpoints(const fs::path& run_folder) {
  std::vector<std::pair<std::int64_t, fs::path>> result;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run_folder, error)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with(kPrefix) || !entry.is_directory()) continue;
    std::int64_t step = 0;
    const char* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + kPrefix.size(), end, step);
    if (parsed.ec == std::errc() && parsed.ptr == end) result.emplace_back(step, entry.path());
  }
  std::sort(result.begin(), result.end());
  return result;
}

void save_checkpoint(const fs::path& run_folder, std::int64_t step, const nlohmann::json& state, std::int64_t keep,
                     const std::function<void(const fs::path&)>& fill, parallel::World* world) {
  const bool main = world == nullptr || world->main();
  fill_together(world, run_folder / (std::string(kPrefix) + std::to_string(step)), [&](const fs::path& folder) {
    fill(folder);
    if (main) io::write_json(folder / kTrainerStateFile, state);
  });
  if (main) prune(run_folder, keep);
}

nlohmann::json read_checkpoint_state(const fs::path& checkpoint) {
  auto state = io::read_json(checkpoint / kTrainerStateFile);
  if (!state.is_object() || !state.contains("step") || !state.at("step").is_number_integer() ||
      !state.contains("sampler")) {
    raise<ModelError>("{}: is not the state of a run", (checkpoint / kTrainerStateFile).string());
  }
  return state;
}

std::optional<fs::path> newest_checkpoint(const fs::path& run_folder,
                                          const std::function<void(const fs::path&)>& is_whole) {
  auto all = list_checkpoints(run_folder);
  std::reverse(all.begin(), all.end());
  for (const auto& [step, path] : all) {
    try {
      is_whole(path);
      return path;
    } catch (const Error& error) {
      spdlog::warn("{}: this checkpoint is damaged and is passed over ({})", path.string(), error.what());
    }
  }
  return std::nullopt;
}

bool holds_run(const fs::path& folder) {
  return fs::exists(folder / kMetricsFile) || fs::exists(folder / "final") || !list_checkpoints(folder).empty();
}

void remove_leftovers(const fs::path& run_folder) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(run_folder, error)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with('.') && name.ends_with(".tmp")) leftovers.push_back(entry.path());
  }
  for (const auto& path : leftovers) fs::remove_all(path, error);
}

}  // namespace lorica::train
