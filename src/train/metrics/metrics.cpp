#include "train/metrics/metrics.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "train/metrics/jsonl.hpp"
#include "train/metrics/progress.hpp"
#include "train/metrics/tensorboard.hpp"

namespace lorica::train {

MetricsWriter::MetricsWriter(const MetricsOptions& options) : log_every_(std::max<std::int64_t>(1, options.log_every)) {
  sinks_.push_back(std::make_unique<JsonlSink>(options.run_folder / kMetricsFile, options.resumed_step));
  if (options.tensorboard) {
    sinks_.push_back(std::make_unique<TensorBoardSink>(options.run_folder / kTensorBoardFolder, options.resumed_step));
  }
  const auto already_done = options.resumed_step.value_or(0);
  if (options.lines_on_stdout) sinks_.push_back(std::make_unique<ProgressSink>(lines_on(stdout, already_done)));
  // Standard output already has the lines: a second copy on the same screen or in the same log file helps nobody.
  auto line = line_on_stderr(already_done, log_every_);
  if (options.progress && (line.terminal || !options.lines_on_stdout)) {
    every_step_.push_back(std::make_unique<ProgressSink>(std::move(line)));
  }
  if (options.signs_of_life) every_step_.push_back(std::make_unique<ProgressSink>(signs_of_life(stderr, already_done)));
}

MetricsWriter::MetricsWriter(std::vector<std::unique_ptr<MetricsSink>> sinks, std::int64_t log_every)
    : sinks_(std::move(sinks)), log_every_(std::max<std::int64_t>(1, log_every)) {}

MetricsWriter::~MetricsWriter() {
  try {
    finish();
  } catch (const std::exception& error) {
    spdlog::warn("the metrics could not be completed: {}", error.what());
  }
}

bool MetricsWriter::is_logged(const StepMetrics& metrics) const {
  // Step 1, not "the first of this session": a resumed run logs the same steps as an uninterrupted one.
  return metrics.step == 1 || metrics.step == metrics.total_steps || metrics.step % log_every_ == 0;
}

template <class Call>
void MetricsWriter::for_all(const Call& call) {
  for (auto& sink : sinks_) call(*sink);
  for (auto& sink : every_step_) call(*sink);
}

void MetricsWriter::step(const StepMetrics& metrics) {
  const bool logged = is_logged(metrics);
  for (auto& sink : sinks_) logged ? sink->step(metrics) : sink->system(metrics);
  for (auto& sink : every_step_) sink->step(metrics);
}

void MetricsWriter::evaluation(const EvalMetrics& metrics) {
  for_all([&](MetricsSink& sink) { sink.evaluation(metrics); });
}

void MetricsWriter::checkpoint(std::int64_t step, const std::filesystem::path& folder, double seconds) {
  for_all([&](MetricsSink& sink) { sink.checkpoint(step, folder, seconds); });
}

void MetricsWriter::finish() {
  if (finished_) return;
  finished_ = true;
  for_all([](MetricsSink& sink) { sink.finish(); });
}

void MetricsWriter::end(const EndMetrics& metrics) {
  for_all([&](MetricsSink& sink) { sink.end(metrics); });
}

void apply_log_to(const std::vector<std::string>& log_to, MetricsOptions& options) {
  const auto has = [&](const char* word) { return std::find(log_to.begin(), log_to.end(), word) != log_to.end(); };
  options.progress = has("tqdm");
  options.lines_on_stdout = has("stdout");
  options.tensorboard = has("tensorboard");
  // Whoever asked for files alone still wants to see that the run is alive; whoever asked for nothing doesn't.
  options.signs_of_life = options.tensorboard && !options.progress && !options.lines_on_stdout;
}

}  // namespace lorica::train
