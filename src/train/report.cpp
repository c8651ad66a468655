#include "train/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/strings.hpp"
#include "train/metrics/jsonl.hpp"
#include "train/metrics/plot.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

// More points than that are only more bytes: a plot is 750 units wide.
constexpr std::size_t kMostPoints = 3000;
constexpr std::size_t kSmoothFrom = 50;

MetricsRecords load(const fs::path& run_folder) {
  const auto file = run_folder / kMetricsFile;
  if (!fs::exists(file)) {
    raise<FileError>("{}: holds no {}. Give the folder of a run (its output_dir).", run_folder.string(), kMetricsFile);
  }
  auto records = read_metrics(file);
  if (records.steps.empty() && records.evaluations.empty()) {
    raise<DataError>("{}: holds no records: the run ended before its first step", file.string());
  }
  return records;
}

template <class Value>
Curve curve_of(std::string name, const std::vector<StepMetrics>& steps, const Value& value) {
  Curve curve;
  curve.name = std::move(name);
  const std::size_t stride = (steps.size() + kMostPoints - 1) / kMostPoints;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (i % stride == 0 || i + 1 == steps.size())
      curve.points.emplace_back(static_cast<double>(steps[i].step), value(steps[i]));
  }
  return curve;
}

/// The curve, or the curve paled and its average in front of it if it is long enough to be noisy.
std::vector<Curve> with_average(Curve curve) {
  if (curve.points.size() < kSmoothFrom) return {std::move(curve)};
  auto average = smoothed(curve, 0.9);
  average.name += ", smoothed";
  curve.faint = true;
  return {std::move(curve), std::move(average)};
}

Plot loss_plot(const MetricsRecords& records) {
  Plot plot{"Loss", "step", "loss per supervised token", {}, false};
  plot.curves = with_average(curve_of("training", records.steps, [](const auto& step) { return step.loss; }));
  if (!records.evaluations.empty()) {
    Curve evaluations{"evaluation", {}, false, true};
    for (const auto& entry : records.evaluations)
      evaluations.points.emplace_back(static_cast<double>(entry.step), entry.loss);
    plot.curves.push_back(std::move(evaluations));
  }
  return plot;
}

double median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return std::nan("");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

/// The record of the lowest finite loss; nullptr if there is none.
template <class Record>
const Record* best_of(const std::vector<Record>& records) {
  const Record* best = nullptr;
  for (const auto& record : records) {
    if (std::isfinite(record.loss) && (!best || record.loss < best->loss)) best = &record;
  }
  return best;
}

using Rows = std::vector<std::pair<std::string, std::string>>;

void add_speed_rows(const std::vector<StepMetrics>& steps, Rows& rows) {
  std::vector<double> speeds, shares, seconds;
  std::uint64_t peak = 0;
  std::int64_t tokens = 0;
  for (const auto& step : steps) {
    speeds.push_back(step.tokens_per_second);
    if (step.matmul_share) shares.push_back(*step.matmul_share);
    seconds.push_back(step.step_seconds);
    peak = std::max(peak, step.peak_memory_bytes);
    tokens += step.tokens;
  }
  rows.emplace_back("speed", fmt::format("{} tokens/s, {:.3g} s a step (medians)",
                                         format_count(std::llround(median(speeds))), median(seconds)));
  if (!shares.empty()) rows.emplace_back("share of matmul speed", fmt::format("{:.0f} %", median(shares) * 100));
  if (peak > 0) rows.emplace_back("peak memory", format_bytes(peak));
  rows.emplace_back("tokens in the records", format_count(tokens));
}

Rows summary_rows(const MetricsRecords& records) {
  Rows rows;
  const auto& steps = records.steps;
  const auto& evaluations = records.evaluations;
  if (!steps.empty()) {
    const auto& last = steps.back();
    rows.emplace_back("steps", fmt::format("{} of {} ({:.2f} epochs)", format_count(last.step),
                                           format_count(last.total_steps), last.epoch));
    rows.emplace_back("training loss", fmt::format("first {:.4f}, last {:.4f}", steps.front().loss, last.loss));
    if (const auto* best = best_of(steps))
      rows.back().second += fmt::format(", best {:.4f} at step {}", best->loss, best->step);
  }
  if (!evaluations.empty()) {
    rows.emplace_back("evaluation loss",
                      fmt::format("first {:.4f}, last {:.4f}", evaluations.front().loss, evaluations.back().loss));
    if (const auto* best = best_of(evaluations))
      rows.back().second += fmt::format(", best {:.4f} after step {}", best->loss, best->step);
    rows.emplace_back("perplexity", fmt::format("first {:.4g}, last {:.4g}", evaluations.front().perplexity,
                                                evaluations.back().perplexity));
  }
  if (!steps.empty()) add_speed_rows(steps, rows);
  return rows;
}

}  // namespace

std::vector<fs::path> write_plots(const fs::path& run_folder, const fs::path& output_folder) {
  const auto records = load(run_folder);
  std::vector<std::pair<std::string, Plot>> plots;
  plots.emplace_back("loss", loss_plot(records));
  if (!records.steps.empty()) {
    const auto& steps = records.steps;
    plots.emplace_back("lr", Plot{"Learning rate",
                                  "step",
                                  "learning rate",
                                  {curve_of("learning rate", steps, [](const auto& step) { return step.lr; })},
                                  true});
    plots.emplace_back(
        "throughput",
        Plot{"Throughput", "step", "tokens per second",
             with_average(curve_of("tokens/s", steps, [](const auto& step) { return step.tokens_per_second; })), true});
    if (std::any_of(steps.begin(), steps.end(), [](const auto& step) { return step.grad_norm.has_value(); })) {
      plots.emplace_back(
          "grad_norm",
          Plot{"Gradient norm before clipping", "step", "global norm",
               with_average(curve_of("gradient norm", steps,
                                     [](const auto& step) { return step.grad_norm.value_or(std::nan("")); })),
               true});
    }
  }
  const auto folder = output_folder / "plots";
  create_folder(folder);
  std::vector<fs::path> paths;
  for (const auto& [name, plot] : plots) {
    paths.push_back(folder / (name + ".svg"));
    write_file(paths.back(), to_svg(plot));
  }
  return paths;
}

std::string summarize(const fs::path& run_folder) {
  const auto records = load(run_folder);
  const auto rows = summary_rows(records);
  std::string text;
  if (records.steps.size() > 1) {
    text = "training loss by step\n" +
           to_text(curve_of("", records.steps, [](const auto& step) { return step.loss; }), 64, 8) + "\n";
  }
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.first.size());
  for (const auto& [name, value] : rows) text += fmt::format("{:<{}}  {}\n", name, width, value);
  return text;
}

void write_report(const fs::path& run_folder) {
  write_plots(run_folder, run_folder);
  fmt::print("{}", summarize(run_folder));
  fmt::print("{}  {}\n", "plots", (run_folder / "plots").string());
  std::fflush(stdout);
}

}  // namespace lorica::train
