// The progress of a run for a person's eyes: a line like tqdm's that is rewritten in place on a terminal; whole lines,
// about a hundred over the run, where the output is piped.
//
//   Training:  12%|█▏        | 60/500 [00:30<03:40, loss=1.2345, lr=1.00e-04, grad=0.31, 1,234 tok/s, 45% mm]
//   step 60/500, loss 1.2345, lr 1.00e-04, grad norm 0.31, 1,234 tokens/s (45 % of matmul speed), elapsed 00:30, left
//   03:40
#pragma once

#include <functional>

#include "train/metrics/metrics.hpp"
#include "train/metrics/status_line.hpp"

namespace lorica::train {

struct ProgressOptions {
  std::FILE* stream = stderr;
  bool terminal = false;          ///< rewrite one line in place; else whole lines
  std::int64_t already_done = 0;  ///< steps before this session: they don't count for the speed
  std::int64_t every = 0;         ///< whole lines: each n-th step; 0: each hundredth of the run
  double redraw_seconds = 0.1;    ///< terminal: at most one redraw in this time
  std::function<double()> now;    ///< seconds of a steady clock; the default reads the system's
};

/// The line on standard error, in place if that is a terminal.
ProgressOptions line_on_stderr(std::int64_t already_done, std::int64_t log_every);
/// A whole line for each step it is given, on `stream`.
ProgressOptions lines_on(std::FILE* stream, std::int64_t already_done);

/// tqdm's form: "03:40", "1:02:03", "2d 01:02:03"; "?" for a time that isn't known.
std::string clock_text(double seconds);
/// "█▏   ": `width` columns filled to `share` (0…1) in eighths.
std::string bar_text(double share, int width);

class ProgressSink : public MetricsSink {
 public:
  explicit ProgressSink(ProgressOptions options);
  void step(const StepMetrics& metrics) override;
  void evaluation(const EvalMetrics& metrics) override;
  void finish() override;

 private:
  double elapsed() const;
  double remaining(const StepMetrics& metrics) const;
  std::string terminal_text(const StepMetrics& metrics) const;
  std::string plain_text(const StepMetrics& metrics) const;
  bool is_plain_due(const StepMetrics& metrics) const;

  ProgressOptions options_;
  StatusLine line_;
  double start_ = 0, last_draw_ = -1;
  double step_seconds_ = 0;  ///< moving average
  std::int64_t shown_step_ = 0;
  std::optional<StepMetrics> pending_;  ///< the latest step if it hasn't been drawn
  std::optional<double> last_eval_loss_;
};

}  // namespace lorica::train
