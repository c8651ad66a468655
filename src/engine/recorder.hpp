// Records what a process does: operations, named scopes (engine/scope.hpp), on CUDA the device's kernels, and the
// memory that tensors take and give back. By LibTorch's own profiler (Kineto); free of LibTorch itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lorica::engine {

/// Something that took time. Times are nanoseconds of one clock.
struct Span {
  std::string name;
  std::string shapes;  ///< of an operation's inputs, "[12, 64], [64]"; empty unless shapes are recorded
  std::int64_t start_ns = 0, end_ns = 0;
  std::uint64_t thread = 0;
  int parent = -1;  ///< the span around it on the same thread, by index (smaller than its own); -1: none
  bool scope = false;
  bool on_device = false;  ///< a kernel, copy or fill on a CUDA device; it has no parent
  std::int64_t duration() const { return end_ns - start_ns; }
};

/// A tensor's memory taken (bytes > 0) or given back (< 0).
struct MemoryEvent {
  std::int64_t time_ns = 0;
  std::uint64_t address = 0;
  std::int64_t bytes = 0;
  int span = -1;  ///< the innermost one around it; -1: none
};

/// Bytes that tensors hold when a recording starts.
struct HeldMemory {
  std::uint64_t weights = 0, trained = 0, gradients = 0, optimizer = 0;
  std::uint64_t others = 0;  ///< known to the allocator, not to the engine
};

struct Recording {
  std::int64_t start_ns = 0, end_ns = 0;
  std::vector<Span> spans;          ///< a parent comes before its children, and those by time
  std::vector<MemoryEvent> memory;  ///< by time; of the device that trains; empty unless memory is recorded
};

class Recorder {
 public:
  struct Options {
    bool shapes = false, memory = false;
    bool device_history = false;  ///< on a CUDA device: its allocator keeps a history, see save_device_history()
    std::string device = "cpu";   ///< ModelFacts::device
    int rank = 0, processes = 1;  ///< noted in the trace
  };
  explicit Recorder(const Options& options);
  /// Stops quietly if it is running or prepared.
  ~Recorder();
  /// Makes the profiler's own preparations, which would else slow down the first thing that is recorded.
  void prepare();
  /// One recorder of a process at a time; nothing else of the process may use LibTorch's profiler meanwhile.
  void start();
  bool running() const;
  /// Of the calling thread and those that autograd runs for it. After the last kernel on the device is done.
  Recording stop();
  /// The last recording in Chrome's trace format. Throws FileError.
  void save_trace(const std::filesystem::path& path);
  /// What the device's allocator noted during the last recording, for LibTorch's viewer of memory. False if there is
  /// none: options.device_history wasn't set, or the device isn't CUDA's. Throws FileError.
  bool save_device_history(const std::filesystem::path& path) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lorica::engine
