#include "train/run_folder.hpp"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <set>
#include <vector>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/strings.hpp"
#include "base/wording.hpp"
#include "config/option.hpp"
#include "engine/state_pieces.hpp"
#include "io/folder_kind.hpp"
#include "io/safetensors.hpp"
#include "train/checkpoints.hpp"
#include "train/metrics/jsonl.hpp"
#include "train/metrics/tensorboard.hpp"
#include "train/together.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

std::string utc_stamp() {
  const auto now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  return fmt::format("{:04}{:02}{:02}_{:02}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

/// A checkpoint is whole if its state parses, its tensors' headers are valid, and each process's piece is there.
void check_whole(const fs::path& checkpoint) {
  read_checkpoint_state(checkpoint);
  engine::state_pieces(checkpoint);
  bool weights = false;
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    if (entry.path().extension() != ".safetensors") continue;
    io::SafetensorsFile file(entry.path());
    weights = true;
  }
  if (!weights) raise<ModelError>("{}: has no tensors", checkpoint.string());
}

/// The folder that --resume names, with or without a slash at its end. Throws ConfigError, ModelError if it is none, or
/// another thing than a checkpoint of ours.
fs::path named_checkpoint(const config::Config& config) {
  auto checkpoint = fs::path(config.resume).lexically_normal();
  if (!checkpoint.has_filename()) checkpoint = checkpoint.parent_path();
  if (!fs::is_directory(checkpoint)) raise<ConfigError>("--resume {}: there is no such folder", config.resume);
  if (io::folder_kind(checkpoint) != io::FolderKind::checkpoint) {
    io::refuse_folder(checkpoint, io::FolderKind::checkpoint);
  }
  return checkpoint;
}

/// Folders of runs inside `output`, newest name first, and `output` itself.
std::vector<fs::path> candidate_folders(const fs::path& output) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(output, error)) {
    if (entry.is_directory() && !list_checkpoints(entry.path()).empty()) folders.push_back(entry.path());
  }
  std::sort(folders.rbegin(), folders.rend());
  folders.insert(folders.begin(), output);
  return folders;
}

[[noreturn]] void raise_differing(const fs::path& folder, const engine::SavedCheck& check) {
  const auto what =
      check.differing.empty()
          ? fmt::format("the saved model's logits differ from the live model's by {}", check.logits_difference)
          : fmt::format("'{}' differs from the live model's when it is read back", check.differing);
  raise<Error>(
      "{}: {}; it was removed again. The disk or its memory may be at fault: go on from a checkpoint (--resume true) "
      "to save once more, on another disk if you can. {}",
      folder.string(), what, last_good(folder.parent_path()));
}

}  // namespace

void check_writable(const fs::path& path, const char* option) {
  auto existing = fs::absolute(path);
  while (!fs::exists(existing) && existing.has_relative_path()) existing = existing.parent_path();
  if (!fs::is_directory(existing)) {
    raise<FileError>("--{} {}: '{}' is a file, not a folder", option, path.string(), existing.string());
  }
  if (::access(existing.c_str(), W_OK) != 0) {
    raise<FileError>("--{} {}: '{}' can't be written to. Check its permissions or choose another folder.", option,
                     path.string(), existing.string());
  }
}

fs::path choose_run_folder(const config::Config& config) {
  const fs::path output = config.output_dir;
  check_writable(output, "output_dir");
  if (!config.resume.empty()) {
    if (config.resume != "latest") return named_checkpoint(config).parent_path();
    for (const auto& folder : candidate_folders(output)) {
      if (newest_checkpoint(folder, check_whole)) return folder;
    }
    raise<ConfigError>(
        "--resume: {} holds no complete checkpoint (checkpoint-<step>/{}). Start anew without --resume, and set "
        "--save_steps to have checkpoints.",
        output.string(), kTrainerStateFile);
  }
  if (config.timestamp_output_dir) return output / utc_stamp();
  if (holds_run(output) && !config.overwrite_output_dir) {
    raise<ConfigError>(
        "--output_dir {}: holds another run. Go on with it (--resume true), replace it (--overwrite_output_dir "
        "true), or choose another folder.",
        output.string());
  }
  return output;
}

fs::path find_checkpoint(const config::Config& config, const fs::path& run_folder) {
  if (config.resume != "latest") {
    const auto checkpoint = named_checkpoint(config);
    check_whole(checkpoint);
    return checkpoint;
  }
  const auto found = newest_checkpoint(run_folder, check_whole);
  ensure(found.has_value(), "the checkpoint of {} vanished", run_folder.string());
  return *found;
}

void prepare_run_folder(const config::Config& config, const fs::path& run_folder) {
  create_folder(run_folder);
  remove_leftovers(run_folder);
  if (config.resume.empty() && config.overwrite_output_dir) {
    // Only what a run of ours makes: the folder may hold the user's own files, too.
    std::vector<fs::path> old{run_folder / kMetricsFile, run_folder / kTensorBoardFolder, run_folder / "final",
                              run_folder / "plots", run_folder / "comparison"};
    for (const auto& [step, path] : list_checkpoints(run_folder)) old.push_back(path);
    for (const auto& path : old) fs::remove_all(path);
  }
  write_file(run_folder / kConfigFile, config::to_toml(config));
}

void record_account(const Account& account, const fs::path& run_folder) {
  for (const auto& line : account.lines()) spdlog::info("{}", line);
  // Names of files and columns may hold any bytes.
  const auto text = account.to_json().dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  write_file(run_folder / "account.json", text + "\n");
}

void warn_of_changes(const config::Config& config, const fs::path& run_folder) {
  const auto file = run_folder / kConfigFile;
  if (!fs::exists(file)) return;
  // The layout of processes changes nothing but the order of additions, and the profiler nothing.
  static const auto expected = [] {
    std::set<std::string> names{"resume",
                                "overwrite_output_dir",
                                "output_dir",
                                "verbose",
                                "threads",
                                "device",
                                "device_memory_limit",
                                "preview",
                                "world_size",
                                "sharding_strategy",
                                "hybrid_shard_size",
                                "no_sync",
                                "prefetch_blocks",
                                "low_memory",
                                "master_addr",
                                "master_port",
                                "peer_timeout",
                                "rank_logs",
                                "pipeline_stages",
                                "partition_method",
                                "pipeline_interleave",
                                "use_column_major_topology",
                                "gradient_accumulation_steps"};
    for (const auto& option : config::profiling_options()) names.insert(option.name);
    return names;
  }();
  const auto now = split(config::to_toml(config), '\n'), then = split(read_file(file), '\n');
  const std::set<std::string> old(then.begin(), then.end());
  std::vector<std::string> changed;
  for (const auto& line : now) {
    const auto name = std::string(trim(line.substr(0, line.find('='))));
    if (line.find('=') != std::string::npos && !line.starts_with('#') && !old.contains(line) &&
        !expected.contains(name)) {
      changed.push_back(std::string(trim(line)));
    }
  }
  if (!changed.empty()) {
    spdlog::warn(
        "options that differ from those this run was started with: {}. The curve will differ from an uninterrupted "
        "run's.",
        join(changed, "; "));
  }
}

void save_final(engine::Engine& engine, const fs::path& run_folder, const data::MicroBatch& probe, bool trained,
                parallel::World* world) {
  const auto final_folder = run_folder / "final";
  if (trained && engine.adapter_is_zero()) {
    raise<Error>(
        "{}: not saved: the adapter adds nothing (every B is zero) although it was trained; something is wrong with "
        "this run",
        final_folder.string());
  }
  engine::SavedCheck check;
  // Checked before it gets its name: a folder called final/ is one that was.
  fill_together(world, final_folder, [&](const fs::path& folder) {
    engine.save_model(folder);
    if (world != nullptr) world->barrier();  // until the first process has written it
    check = engine.verify_saved(folder, probe);
    if (!check.differing.empty() || check.logits_difference != 0) raise_differing(final_folder, check);
  });
  spdlog::info("saved {} (read back: every tensor, and the logits of {}, equal the live model's)",
               final_folder.string(), counted(check.tokens, "token"));
}

std::string last_good(const fs::path& run_folder) {
  const auto all = list_checkpoints(run_folder);
  if (all.empty()) return "there is no checkpoint yet (--save_steps makes some).";
  return fmt::format("the last good checkpoint is {}.", all.back().second.string());
}

std::string origin_of(const data::TokenizedDataset& dataset, std::int64_t example_id) {
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    if (dataset.example(i).id == example_id) return dataset.origin(i);
  }
  return fmt::format("example {}", example_id);
}

}  // namespace lorica::train
