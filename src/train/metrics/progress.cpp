#include "train/metrics/progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/strings.hpp"
#include "base/wording.hpp"

namespace lorica::train {
namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

ProgressOptions line_on_stderr(std::int64_t already_done, std::int64_t log_every) {
  ProgressOptions options;
  options.terminal = terminal_columns(stderr) > 0;
  options.already_done = already_done;
  options.every = log_every > 1 ? log_every : 0;
  return options;
}

ProgressOptions lines_on(std::FILE* stream, std::int64_t already_done) {
  ProgressOptions options;
  options.stream = stream;
  options.already_done = already_done;
  options.every = 1;
  return options;
}

ProgressOptions signs_of_life(std::FILE* stream, std::int64_t already_done) {
  ProgressOptions options;
  options.stream = stream;
  options.already_done = already_done;
  options.every_seconds = 60;
  return options;
}

ProgressSink::ProgressSink(ProgressOptions options)
    : options_(std::move(options)), line_(options_.stream, options_.terminal) {
  if (!options_.now) options_.now = steady_seconds;
}

double ProgressSink::remaining(const StepMetrics& metrics, double elapsed) const {
  // Wall time of the session per step, evaluations and checkpoints included; a moving average until there are enough.
  const auto done = static_cast<double>(metrics.step - options_.already_done);
  if (done <= 0) return std::nan("");
  const double per_step = done >= 10 ? elapsed / done : step_seconds_;
  return per_step * static_cast<double>(std::max<std::int64_t>(0, metrics.total_steps - metrics.step));
}

ProgressFacts ProgressSink::facts(const StepMetrics& metrics) const {
  ProgressFacts facts;
  facts.step = metrics.step, facts.total_steps = metrics.total_steps;
  facts.loss = metrics.loss, facts.lr = metrics.lr;
  facts.grad_norm = metrics.grad_norm;
  facts.tokens_per_second = seconds_ > 0 ? tokens_ / seconds_ : metrics.tokens_per_second;
  facts.matmul_share = metrics.matmul_share;
  facts.peak_memory_bytes = metrics.peak_memory_bytes;
  facts.evaluation_loss = last_eval_loss_;
  facts.elapsed = options_.now() - start_.value_or(options_.now());
  facts.remaining = remaining(metrics, facts.elapsed);
  return facts;
}

bool ProgressSink::is_due(const StepMetrics& metrics) const {
  if (!shown_any_ || metrics.step == metrics.total_steps) return true;
  const double since = options_.now() - last_shown_;
  if (options_.terminal) return since >= options_.redraw_seconds;
  if (options_.every_seconds > 0) return since >= options_.every_seconds;
  const auto every = options_.every > 0 ? options_.every : std::max<std::int64_t>(1, metrics.total_steps / 100);
  return metrics.step % every == 0;
}

void ProgressSink::note(const StepMetrics& metrics) {
  if (!start_) start_ = options_.now() - metrics.step_seconds;
  step_seconds_ = step_seconds_ == 0 ? metrics.step_seconds : 0.7 * step_seconds_ + 0.3 * metrics.step_seconds;
  tokens_ += static_cast<double>(metrics.tokens);
  seconds_ += metrics.step_seconds;
  pending_ = metrics;
}

void ProgressSink::show(const StepMetrics& metrics) {
  const auto shown = facts(metrics);
  if (options_.terminal) {
    line_.show([shown](int columns) { return progress_line(shown, columns); });
  } else {
    line_.print_line(progress_sentence(shown));
  }
  last_shown_ = options_.now();
  shown_any_ = true;
  tokens_ = seconds_ = 0;
  pending_.reset();
}

void ProgressSink::step(const StepMetrics& metrics) {
  note(metrics);
  if (is_due(metrics)) show(metrics);
}

void ProgressSink::system(const StepMetrics& metrics) {
  note(metrics);
}

void ProgressSink::evaluation(const EvalMetrics& metrics) {
  auto text = fmt::format("evaluation {}: loss {:.4f}",
                          metrics.step == 0 ? "before the first step" : fmt::format("after step {}", metrics.step),
                          metrics.loss);
  if (last_eval_loss_ && *last_eval_loss_ != 0) {
    text += fmt::format(" (was {:.4f}, {})", *last_eval_loss_, percent_change(*last_eval_loss_, metrics.loss));
  }
  text += fmt::format(", perplexity {:.4g}, {}, {}", metrics.perplexity, counted(metrics.tokens, "token"),
                      format_seconds(metrics.seconds));
  line_.print_line(text);
  last_eval_loss_ = metrics.loss;
}

void ProgressSink::checkpoint(std::int64_t step, const std::filesystem::path& folder, double seconds) {
  line_.print_line(
      fmt::format("checkpoint after step {}: {}, written in {}", step, folder.string(), format_seconds(seconds)));
}

void ProgressSink::finish() {
  // The last step of an interrupted run may have been thinned out.
  if (pending_) show(*pending_);
  line_.close();
}

}  // namespace lorica::train
