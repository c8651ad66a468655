// The facts and curves of a run that its report and comparisons show.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/strings.hpp"
#include "base/wording.hpp"
#include "train/report.hpp"

namespace lorica::train {
namespace {

// More points than that are only more bytes: a plot is 750 units wide.
constexpr std::size_t kMostPoints = 3000;
constexpr std::size_t kSmoothFrom = 20;

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

/// "2.1000 -> 1.5000 (-28.57 %)", and the best where that isn't the last.
template <class Record>
std::string loss_text(const std::vector<Record>& records) {
  const auto &first = records.front(), &last = records.back();
  auto text = fmt::format("{:.4f}", last.loss);
  if (records.size() > 1) {
    text = fmt::format("{:.4f} -> {:.4f} ({})", first.loss, last.loss, percent_change(first.loss, last.loss));
  }
  const auto* best = best_of(records);
  if (best && best != &last) text += fmt::format(", best {:.4f} at step {}", best->loss, format_count(best->step));
  return text;
}

void add_speed_rows(const MetricsRecords& records, Rows& rows) {
  std::vector<double> speeds, shares, seconds;
  std::uint64_t peak = records.end ? records.end->peak_memory_bytes : 0;
  std::int64_t tokens = 0;
  double total = 0;
  const auto add = [&](const StepMetrics& step) {
    speeds.push_back(step.tokens_per_second);
    if (step.matmul_share) shares.push_back(*step.matmul_share);
    seconds.push_back(step.step_seconds);
    peak = std::max(peak, step.peak_memory_bytes);
    tokens += step.tokens;
    if (std::isfinite(step.step_seconds)) total += step.step_seconds;
  };
  std::for_each(records.steps.begin(), records.steps.end(), add);
  std::for_each(records.systems.begin(), records.systems.end(), add);
  double evaluating = 0;
  for (const auto& evaluation : records.evaluations) evaluating += evaluation.seconds;
  auto time = format_seconds(total) + " in steps";
  if (evaluating > 0) time += ", " + format_seconds(evaluating) + " in evaluations";
  if (records.end) time += ", " + format_seconds(records.end->seconds) + " for the whole of the last session";
  rows.emplace_back("time", time);
  rows.emplace_back("speed", fmt::format("{} tokens/s, {:.3g} s a step (medians)",
                                         format_count(std::llround(median(speeds))), median(seconds)));
  // Runs of before this was held to the best speed seen have shares above 1.
  if (!shares.empty()) rows.emplace_back("share of matmul speed", percent(std::min(1.0, median(shares)), 0));
  if (peak > 0) rows.emplace_back("peak memory", format_bytes(peak));
  rows.emplace_back("tokens trained on", format_count(tokens));
}

}  // namespace

Rows summary_rows(const MetricsRecords& records) {
  Rows rows;
  const auto& evaluations = records.evaluations;
  if (!records.steps.empty()) {
    const auto& last = records.systems.empty() || records.systems.back().step < records.steps.back().step
                           ? records.steps.back()
                           : records.systems.back();
    auto steps = fmt::format("{} of {}", format_count(last.step), format_count(last.total_steps));
    const double epochs = records.steps.back().epoch;
    rows.emplace_back("steps", fmt::format("{} ({:.2f} {})", steps, epochs, epochs == 1 ? "epoch" : "epochs"));
    rows.emplace_back("training loss", loss_text(records.steps));
  }
  if (!evaluations.empty()) {
    rows.emplace_back("evaluation loss", loss_text(evaluations));
    rows.emplace_back("perplexity", evaluations.size() > 1
                                        ? fmt::format("{:.4g} -> {:.4g}", evaluations.front().perplexity,
                                                      evaluations.back().perplexity)
                                        : fmt::format("{:.4g}", evaluations.back().perplexity));
  }
  if (!records.steps.empty()) add_speed_rows(records, rows);
  return rows;
}

/// A twentieth of the run to each side, but at least 2 and at most 50 records: enough to still the noise, few enough to
/// follow.
std::size_t average_reach(std::size_t points) {
  return std::clamp<std::size_t>(points / 20, 2, 50);
}

std::vector<Curve> with_average(Curve curve) {
  const auto points = curve.points.size();
  if (points < kSmoothFrom) return {std::move(curve)};
  auto average = thinned(smoothed(curve, average_reach(points)), kMostPoints);
  average.name += ", smoothed";
  curve = thinned(std::move(curve), kMostPoints);
  curve.faint = true;
  return {std::move(curve), std::move(average)};
}

std::string average_note(std::size_t points) {
  if (points < kSmoothFrom) return "";
  return fmt::format("smoothed: mean of the {} records around each step (fewer near the ends)",
                     2 * average_reach(points) + 1);
}

std::vector<Curve> loss_curves(const MetricsRecords& records, const std::string& name, int color) {
  const auto prefix = name.empty() ? "" : name + ": ";
  Curve training;
  training.name = prefix + "training";
  training.color = color;
  for (const auto& step : records.steps) training.points.emplace_back(static_cast<double>(step.step), step.loss);
  auto curves = training.points.empty() ? std::vector<Curve>{} : with_average(std::move(training));
  if (!records.evaluations.empty()) {
    Curve evaluations;
    evaluations.name = prefix + "evaluation";
    evaluations.markers = true;
    evaluations.dashed = !name.empty();
    evaluations.color = name.empty() ? color + 1 : color;
    for (const auto& entry : records.evaluations)
      evaluations.points.emplace_back(static_cast<double>(entry.step), entry.loss);
    curves.push_back(std::move(evaluations));
  }
  return curves;
}

}  // namespace lorica::train
