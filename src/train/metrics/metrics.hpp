// What a run measures, and the one writer that the training loop hands it to: metrics.jsonl, TensorBoard event files
// and the progress line. Only the process that owns the run folder (rank 0) makes a writer. Nothing here knows of
// Torch.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lorica::train {

/// How the process came to its first step; in the record of the first step that it makes.
struct StartMetrics {
  double load_seconds = 0;              ///< reading, quantizing and placing the weights, adapters included
  std::uint64_t loaded_peak_bytes = 0;  ///< peak resident memory when that was done
  double ready_seconds = 0;             ///< from the start of the process until everything was ready: data, model, plan
  double first_step_seconds = 0;  ///< until its first step began: after the trial of the heaviest micro-batch, if any
  std::string recompute;          ///< what the option came to: "keep", "recompute", "selective"
};

/// One optimizer step. Counts are of this step alone, over all ranks and micro-batches.
struct StepMetrics {
  std::int64_t step = 0;               ///< 1-based
  std::int64_t total_steps = 0;        ///< of the whole run
  double epoch = 0;                    ///< passes over the data so far, with fraction
  double loss = 0;                     ///< mean over the step's supervised tokens
  double lr = 0;                       ///< used by this step's update
  std::optional<double> grad_norm;     ///< global, before clipping
  std::int64_t tokens = 0;             ///< that went through the model
  std::int64_t supervised_tokens = 0;  ///< that the loss counted
  std::int64_t examples = 0;

  // Not the same from run to run:
  double step_seconds = 0;
  double tokens_per_second = 0;
  std::optional<double> matmul_share;          ///< 0…1 of this machine's measured matrix-product speed
  std::uint64_t peak_memory_bytes = 0;         ///< of the device, or of the process where that is the CPU
  std::optional<double> peak_allocated_bytes;  ///< what tensors had of it, on a device that tells
  std::optional<StartMetrics> start;           ///< in the first record of a process
};

/// One evaluation, made after `step` optimizer steps (0: before the first).
struct EvalMetrics {
  std::int64_t step = 0;
  double epoch = 0;
  double loss = 0;
  double perplexity = 0;    ///< exp(loss)
  std::int64_t tokens = 0;  ///< supervised ones
  std::int64_t examples = 0;
  double seconds = 0;  ///< not the same from run to run
};

/// The end of a session: everything is saved.
struct EndMetrics {
  std::int64_t step = 0;
  double seconds = 0;                   ///< from the start of the process
  std::uint64_t peak_memory_bytes = 0;  ///< as in StepMetrics, saving and checking what was saved included
};

/// Where metrics go. Implementations: JsonlSink, TensorBoardSink, ProgressSink.
class MetricsSink {
 public:
  virtual ~MetricsSink() = default;
  virtual void step(const StepMetrics& metrics) = 0;
  /// A step whose training metrics (loss, learning rate, gradient norm) aren't logged: speed and memory are.
  virtual void system(const StepMetrics& metrics) = 0;
  virtual void evaluation(const EvalMetrics& metrics) = 0;
  /// A checkpoint was written.
  virtual void checkpoint(std::int64_t /*step*/, const std::filesystem::path& /*folder*/, double /*seconds*/) {}
  /// The run is over (or interrupted): what is pending is shown and flushed.
  virtual void finish() {}
  virtual void end(const EndMetrics& /*metrics*/) {}
};

struct MetricsOptions {
  std::filesystem::path run_folder;  ///< must exist
  /// Steps that the loaded checkpoint has done: later records of the folder are dropped. nullopt: a new run, all are.
  std::optional<std::int64_t> resumed_step;
  /// Training metrics are logged every n-th step, the first and the last always; speed and memory every step. The
  /// progress line is not thinned by it.
  std::int64_t log_every = 1;
  bool tensorboard = true;
  bool progress = true;          ///< the line on standard error (plain lines if that isn't a terminal)
  bool lines_on_stdout = false;  ///< a plain line for each logged step on standard output
  bool signs_of_life = false;    ///< without the two above: a plain line a minute on standard error
};

/// Fans one step's or evaluation's metrics out to all sinks. Throws FileError if a file can't be written.
class MetricsWriter {
 public:
  explicit MetricsWriter(const MetricsOptions& options);
  /// For tests and other sinks; `log_every` as in the options.
  MetricsWriter(std::vector<std::unique_ptr<MetricsSink>> sinks, std::int64_t log_every);
  ~MetricsWriter();
  void step(const StepMetrics& metrics);
  void evaluation(const EvalMetrics& metrics);
  void checkpoint(std::int64_t step, const std::filesystem::path& folder, double seconds);
  /// No step follows. Idempotent; the destructor calls it (and swallows errors), so that an exception leaves a clean
  /// terminal.
  void finish();
  /// After finish(), when everything is saved.
  void end(const EndMetrics& metrics);

 private:
  template <class Call>
  void for_all(const Call& call);
  bool is_logged(const StepMetrics& metrics) const;
  std::vector<std::unique_ptr<MetricsSink>> sinks_;       ///< get the logged steps, and of the others system()
  std::vector<std::unique_ptr<MetricsSink>> every_step_;  ///< get all steps (the progress line thins for itself)
  std::int64_t log_every_ = 1;
  bool finished_ = false;
};

/// log_to's words ("tqdm", "stdout", "tensorboard", "none") into the switches of the options.
void apply_log_to(const std::vector<std::string>& log_to, MetricsOptions& options);

}  // namespace lorica::train
