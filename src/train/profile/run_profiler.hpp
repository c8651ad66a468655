// The profiler of a run: starts and stops recordings as the schedule says, and writes what they showed. Once training
// has begun nothing that goes wrong with it stops the run: it is logged.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "config/config.hpp"
#include "engine/engine.hpp"
#include "engine/recorder.hpp"
#include "train/profile/schedule.hpp"

namespace lorica::train {

/// Where the profiler of a run in `run_folder` writes.
std::filesystem::path profiling_folder(const config::Config& config, const std::filesystem::path& run_folder);

/// For rank 0, before anything is loaded: throws FileError if nothing could be written there, ConfigError if a new run
/// would replace what is there without being allowed to. Does nothing if nothing is to be profiled.
void check_profiling_folder(const config::Config& config, const std::filesystem::path& run_folder);

/// For rank 0: removes the profiles of an earlier run, if this is a new one that writes there or replaces that run, and
/// creates the folder if anything is to be profiled.
void prepare_profiling_folder(const config::Config& config, const std::filesystem::path& run_folder);

class RunProfiler {
 public:
  struct Place {
    std::filesystem::path run_folder;
    std::string device = "cpu";  ///< ModelFacts::device
    int rank = 0, processes = 1;
    std::int64_t first_step = 0, end_step = 0;  ///< this process runs steps [first, end), counted from 0
  };
  using MemoryNow = std::function<engine::MemoryReport()>;
  /// Throws ConfigError for what can't be recorded on the device. Warns if no step will be recorded.
  RunProfiler(const config::Config& config, const Place& place, MemoryNow memory);

  /// Around step 0, 1, … of the run, with the evaluation and the checkpoint that follow it.
  void begin(std::int64_t step);
  void end(std::int64_t step);
  /// No step follows: a recording that is under way is written as it is.
  void finish();

 private:
  enum class Subject { steps, memory };
  void start(std::int64_t step, Subject subject);
  void complete();
  void write_profile(const engine::Recording& recording, const std::string& title);
  void write_memory(const engine::Recording& recording, const std::string& title) const;
  bool records_memory(std::int64_t step) const;
  engine::Recorder::Options options(Subject subject) const;
  engine::HeldMemory held() const;
  void guarded(const char* what, const std::function<void()>& action) const;

  const config::Config& config_;
  Place place_;
  MemoryNow memory_;
  std::filesystem::path folder_;
  ProfilingSchedule schedule_;
  std::unique_ptr<engine::Recorder> recorder_;  ///< prepared or running
  Subject subject_ = Subject::steps;
  std::int64_t started_ = 0, last_ = 0;  ///< steps of the recording so far, counted from 0
  engine::HeldMemory held_;              ///< when it started
};

}  // namespace lorica::train
