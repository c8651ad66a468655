#include "train/profile/run_profiler.hpp"

#include <algorithm>
#include <regex>
#include <vector>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "train/profile/key_averages.hpp"
#include "train/profile/memory_timeline.hpp"
#include "train/run_folder.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

using Phase = ProfilingSchedule::Phase;

constexpr const char* kSnapshot = "memory_snapshot";

bool profiles(const config::Config& config) {
  return config.profile || config.profile_memory;
}

/// What profilers write in a folder.
std::vector<fs::path> profiles_in(const fs::path& folder) {
  static const std::regex iteration(R"(iteration_\d+)"), file(R"(rank\d+(\.|_).+\.(json|txt|html))");
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto name = entry.path().filename().string();
    if (entry.is_regular_file() && entry.path().stem() == kSnapshot) found.push_back(entry.path());
    if (!entry.is_directory() || !std::regex_match(name, iteration)) continue;
    for (const auto& inner : fs::directory_iterator(entry.path(), error)) {
      if (std::regex_match(inner.path().filename().string(), file)) found.push_back(inner.path());
    }
  }
  return found;
}

/// No other file.
void remove_profiles(const fs::path& folder) {
  std::error_code error;
  for (const auto& path : profiles_in(folder)) {
    fs::remove(path, error);
    if (path.parent_path() != folder && fs::is_empty(path.parent_path(), error)) fs::remove(path.parent_path(), error);
  }
}

}  // namespace

fs::path profiling_folder(const config::Config& config, const fs::path& run_folder) {
  return run_folder / config.profiling_output;  // an absolute one stands for itself
}

void check_profiling_folder(const config::Config& config, const fs::path& run_folder) {
  if (!profiles(config)) return;
  const auto folder = profiling_folder(config, run_folder);
  check_writable(folder, "profiling_output");
  if (config.overwrite_profiling_output || !config.resume.empty()) return;
  if (const auto found = profiles_in(folder); !found.empty()) {
    raise<ConfigError>(
        "--profiling_output {}: holds profiles of another run ({}). Choose another folder, or let them be replaced "
        "(--overwrite_profiling_output true).",
        folder.string(), found.front().lexically_relative(folder).string());
  }
}

void prepare_profiling_folder(const config::Config& config, const fs::path& run_folder) {
  const auto folder = profiling_folder(config, run_folder);
  const bool replaced = config.overwrite_output_dir && fs::path(config.profiling_output).is_relative();
  if (config.resume.empty() && (replaced || profiles(config))) remove_profiles(folder);
  if (profiles(config)) create_folder(folder);
}

RunProfiler::RunProfiler(const config::Config& config, const Place& place, MemoryNow memory)
    : config_(config), place_(place), memory_(std::move(memory)), folder_(profiling_folder(config, place.run_folder)) {
  if (!profiles(config_)) return;
  if (place_.device.starts_with("mps") && (config_.profile_memory || config_.export_memory_timeline)) {
    raise<ConfigError>(
        "profile_memory and export_memory_timeline are not built yet for {}: its allocator tells the "
        "profiler nothing",
        place_.device);
  }
  if (!config_.profile || place_.first_step >= place_.end_step) return;
  schedule_ = profiling_schedule(config_);
  for (auto step = place_.first_step; step < place_.end_step; ++step) {
    if (schedule_.phase(step) == Phase::record) return;
  }
  spdlog::warn(
      "profile: nothing will be recorded: the first recording begins with step {}{}, this run has steps {} to {}. "
      "Lower "
      "--profiling_frequency, or give --repeat and --wait_steps",
      schedule_.first_recorded() + 1, schedule_.repeat > 0 ? " and there are no more after --repeat cycles" : "",
      place_.first_step + 1, place_.end_step);
}

bool RunProfiler::records_memory(std::int64_t step) const {
  return config_.profile_memory && place_.rank == 0 && step == place_.first_step;
}

engine::Recorder::Options RunProfiler::options(Subject subject) const {
  engine::Recorder::Options options;
  options.shapes = subject == Subject::steps && config_.with_shapes;
  options.memory = subject == Subject::memory || config_.export_memory_timeline;
  options.device_history = subject == Subject::memory;
  options.device = place_.device;
  options.rank = place_.rank;
  options.processes = place_.processes;
  return options;
}

void RunProfiler::begin(std::int64_t step) {
  if (records_memory(step)) return start(step, Subject::memory);
  if (!config_.profile) return;
  const auto phase = schedule_.phase(step);
  if (phase == Phase::warm_up && !recorder_) {
    guarded("prepare", [&] {
      recorder_ = std::make_unique<engine::Recorder>(options(Subject::steps));
      recorder_->prepare();
    });
  }
  if (phase == Phase::record && !(recorder_ && recorder_->running())) start(step, Subject::steps);
}

void RunProfiler::start(std::int64_t step, Subject subject) {
  subject_ = subject;
  started_ = step;
  guarded("start", [&] {
    if (!recorder_) recorder_ = std::make_unique<engine::Recorder>(options(subject));
    held_ = held();
    recorder_->start();
  });
}

void RunProfiler::end(std::int64_t step) {
  if (!recorder_ || !recorder_->running()) return;
  last_ = step;
  if (subject_ == Subject::memory || schedule_.is_last(step)) complete();
}

void RunProfiler::finish() {
  if (recorder_ && recorder_->running()) complete();
}

void RunProfiler::complete() {
  guarded("write", [&] {
    const auto recording = recorder_->stop();
    const auto steps =
        started_ == last_ ? fmt::format("Step {}", last_ + 1) : fmt::format("Steps {} to {}", started_ + 1, last_ + 1);
    const auto title = fmt::format("{}, rank {} of {} on {}", steps, place_.rank, place_.processes, place_.device);
    if (subject_ == Subject::memory) {
      write_memory(recording, title);
    } else {
      write_profile(recording, title);
    }
  });
  recorder_.reset();
}

void RunProfiler::write_profile(const engine::Recording& recording, const std::string& title) {
  const auto folder = folder_ / fmt::format("iteration_{}", last_ + 1);
  const auto start = fmt::format("rank{}", place_.rank);
  if (!config_.overwrite_profiling_output && fs::exists(folder / (start + "_key_averages.txt"))) {
    spdlog::warn("profile: {} has a profile of rank {} already; it is kept", folder.string(), place_.rank);
    return;
  }
  create_folder(folder);
  write_file(folder / (start + "_key_averages.txt"), key_averages(recording, title));
  if (config_.with_stack) write_file(folder / (start + "_stacks.txt"), folded_stacks(recording));
  if (config_.export_memory_timeline) {
    const auto timeline = memory_timeline(recording, held_);
    write_file(folder / (start + "_memory-timeline.json"), to_json(timeline, title));
    write_file(folder / (start + "_memory-timeline.html"), to_html(timeline, title));
  }
  if (config_.export_trace) recorder_->save_trace(folder / (start + ".trace.json"));
  spdlog::info("profile of steps {} to {}: {}", started_ + 1, last_ + 1, folder.string());
}

void RunProfiler::write_memory(const engine::Recording& recording, const std::string& title) const {
  const auto page = folder_ / (std::string(kSnapshot) + ".html");
  if (!config_.overwrite_profiling_output && fs::exists(page)) {
    spdlog::warn("profile_memory: {} is there already; it is kept", page.string());
    return;
  }
  create_folder(folder_);
  write_file(folder_ / (std::string(kSnapshot) + ".json"), memory_events_json(recording, held_, title));
  recorder_->save_device_history(folder_ / (std::string(kSnapshot) + ".pickle"));
  write_file(page, to_html(memory_timeline(recording, held_), title));
  spdlog::info("memory of step {}: {}", last_ + 1, page.string());
}

engine::HeldMemory RunProfiler::held() const {
  const auto memory = memory_();
  engine::HeldMemory held{memory.weights, memory.trainable, memory.gradients, memory.optimizer, 0};
  const auto known = held.weights + held.trained + held.gradients + held.optimizer;
  held.others = memory.tensors > known ? memory.tensors - known : 0;
  return held;
}

/// What the profiler can't do is no reason to lose a run.
void RunProfiler::guarded(const char* what, const std::function<void()>& action) const {
  try {
    action();
  } catch (const std::exception& error) {
    spdlog::warn("profile: can't {} it, and training goes on: {}", what, error.what());
  }
}

}  // namespace lorica::train
