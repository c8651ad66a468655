// The progress of a run for a person's eyes (progress_line.hpp): a line that is rewritten in place on a terminal; whole
// lines, about a hundred over the run, where the output is piped; a whole line a minute where only files were asked
// for.
#pragma once

#include <functional>

#include "train/metrics/metrics.hpp"
#include "train/metrics/progress_line.hpp"
#include "train/metrics/status_line.hpp"

namespace lorica::train {

struct ProgressOptions {
  std::FILE* stream = stderr;
  bool terminal = false;          ///< rewrite one line in place; else whole lines
  std::int64_t already_done = 0;  ///< steps before this session: they don't count for the speed
  std::int64_t every = 0;         ///< whole lines: each n-th step; 0: each hundredth of the run
  double every_seconds = 0;       ///< whole lines: not by steps, but when so much time has passed; 0: by steps
  double redraw_seconds = 0.1;    ///< terminal: at most one redraw in this time
  std::function<double()> now;    ///< seconds of a steady clock; the default reads the system's
};

/// The line on standard error, in place if that is a terminal.
ProgressOptions line_on_stderr(std::int64_t already_done, std::int64_t log_every);
/// A whole line for each step it is given, on `stream`.
ProgressOptions lines_on(std::FILE* stream, std::int64_t already_done);

/// A whole line on `stream` for the first step, the last, and one a minute between.
ProgressOptions signs_of_life(std::FILE* stream, std::int64_t already_done);

class ProgressSink : public MetricsSink {
 public:
  explicit ProgressSink(ProgressOptions options);
  void step(const StepMetrics& metrics) override;
  void system(const StepMetrics& metrics) override;
  void evaluation(const EvalMetrics& metrics) override;
  void checkpoint(std::int64_t step, const std::filesystem::path& folder, double seconds) override;
  void finish() override;

 private:
  /// Counts the step for the speed, whether it is shown or not.
  void note(const StepMetrics& metrics);
  void show(const StepMetrics& metrics);
  bool is_due(const StepMetrics& metrics) const;
  double remaining(const StepMetrics& metrics, double elapsed) const;
  ProgressFacts facts(const StepMetrics& metrics) const;

  ProgressOptions options_;
  StatusLine line_;
  std::optional<double> start_;  ///< when the session's first step began
  double last_shown_ = 0;
  bool shown_any_ = false;
  /// Since something was shown: its speed is that of all steps, not of one.
  double tokens_ = 0, seconds_ = 0;
  double step_seconds_ = 0;             ///< moving average
  std::optional<StepMetrics> pending_;  ///< the latest step if it hasn't been shown
  std::optional<double> last_eval_loss_;
};

}  // namespace lorica::train
