#include "train/metrics/progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/strings.hpp"

namespace lorica::train {
namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string rate_text(double tokens_per_second) {
  if (!std::isfinite(tokens_per_second)) return "?";
  if (tokens_per_second < 10) return fmt::format("{:.1f}", tokens_per_second);
  return format_count(std::llround(tokens_per_second));
}

}  // namespace

std::string clock_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<std::int64_t>(seconds);
  const auto clock = fmt::format("{:02}:{:02}", whole / 60 % 60, whole % 60);
  if (whole >= 86400) return fmt::format("{}d {:02}:{}", whole / 86400, whole / 3600 % 24, clock);
  return whole >= 3600 ? fmt::format("{}:{}", whole / 3600, clock) : clock;
}

std::string bar_text(double share, int width) {
  static const char* const kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<int>(std::clamp(share, 0.0, 1.0) * width * 8 + 1e-9);
  std::string text;
  for (int i = 0; i < eighths / 8; ++i) text += "█";
  text += kEighths[eighths % 8];
  text.append(static_cast<std::size_t>(width - eighths / 8 - (eighths % 8 != 0)), ' ');
  return text;
}

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

ProgressSink::ProgressSink(ProgressOptions options)
    : options_(std::move(options)), line_(options_.stream, options_.terminal) {
  if (!options_.now) options_.now = steady_seconds;
  start_ = options_.now();
}

double ProgressSink::elapsed() const {
  return options_.now() - start_;
}

double ProgressSink::remaining(const StepMetrics& metrics) const {
  // Wall time of the session per step, evaluations and checkpoints included; a moving average until there are enough.
  const auto done = static_cast<double>(metrics.step - options_.already_done);
  if (done <= 0) return std::nan("");
  const double per_step = done >= 10 ? elapsed() / done : step_seconds_;
  return per_step * static_cast<double>(std::max<std::int64_t>(0, metrics.total_steps - metrics.step));
}

std::string ProgressSink::terminal_text(const StepMetrics& metrics) const {
  const double share =
      metrics.total_steps > 0 ? static_cast<double>(metrics.step) / static_cast<double>(metrics.total_steps) : 0;
  auto facts = fmt::format(" {}/{} [{}<{}, loss={:.4f}, lr={:.2e}", metrics.step, metrics.total_steps,
                           clock_text(elapsed()), clock_text(remaining(metrics)), metrics.loss, metrics.lr);
  if (metrics.grad_norm) facts += fmt::format(", grad={:.3g}", *metrics.grad_norm);
  facts += fmt::format(", {} tok/s", rate_text(metrics.tokens_per_second));
  if (metrics.matmul_share) facts += fmt::format(", {:.0f}% mm", *metrics.matmul_share * 100);
  facts += "]";
  const auto head = fmt::format("Training: {:3.0f}%|", std::floor(share * 100));
  const int found = terminal_columns(options_.stream);
  const int room = (found > 0 ? found : kUnknownColumns) - 2 - static_cast<int>(head.size() + facts.size());
  // On a narrow terminal the numbers are worth more than the bar.
  return head + bar_text(share, room < 4 ? 0 : std::min(room, 30)) + "|" + facts;
}

std::string ProgressSink::plain_text(const StepMetrics& metrics) const {
  auto text =
      fmt::format("step {}/{}, loss {:.4f}, lr {:.2e}", metrics.step, metrics.total_steps, metrics.loss, metrics.lr);
  if (metrics.grad_norm) text += fmt::format(", grad norm {:.3g}", *metrics.grad_norm);
  text += fmt::format(", {} tokens/s", rate_text(metrics.tokens_per_second));
  if (metrics.matmul_share) text += fmt::format(" ({:.0f} % of matmul speed)", *metrics.matmul_share * 100);
  return text + fmt::format(", elapsed {}, left {}", clock_text(elapsed()), clock_text(remaining(metrics)));
}

bool ProgressSink::is_plain_due(const StepMetrics& metrics) const {
  const auto every = options_.every > 0 ? options_.every : std::max<std::int64_t>(1, metrics.total_steps / 100);
  return shown_step_ == 0 || metrics.step == metrics.total_steps || metrics.step % every == 0;
}

void ProgressSink::step(const StepMetrics& metrics) {
  step_seconds_ = step_seconds_ == 0 ? metrics.step_seconds : 0.7 * step_seconds_ + 0.3 * metrics.step_seconds;
  pending_ = metrics;
  if (options_.terminal) {
    const double now = options_.now();
    const bool due =
        last_draw_ < 0 || now - last_draw_ >= options_.redraw_seconds || metrics.step == metrics.total_steps;
    if (!due) return;
    line_.show(terminal_text(metrics));
    last_draw_ = now;
  } else {
    if (!is_plain_due(metrics)) return;
    line_.print_line(plain_text(metrics));
  }
  shown_step_ = metrics.step;
  pending_.reset();
}

void ProgressSink::evaluation(const EvalMetrics& metrics) {
  auto text = fmt::format("evaluation after step {}: loss {:.4f}", metrics.step, metrics.loss);
  if (last_eval_loss_ && *last_eval_loss_ != 0) {
    text += fmt::format(" (was {:.4f}, {:+.2f} %)", *last_eval_loss_, (metrics.loss / *last_eval_loss_ - 1) * 100);
  }
  text += fmt::format(", perplexity {:.4g}, {} tokens, {}", metrics.perplexity, format_count(metrics.tokens),
                      format_seconds(metrics.seconds));
  line_.print_line(text);
  last_eval_loss_ = metrics.loss;
}

void ProgressSink::finish() {
  // The last step of an interrupted run may have been thinned out.
  if (pending_) options_.terminal ? line_.show(terminal_text(*pending_)) : line_.print_line(plain_text(*pending_));
  pending_.reset();
  line_.close();
}

}  // namespace lorica::train
