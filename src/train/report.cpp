#include "train/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/strings.hpp"
#include "base/wording.hpp"
#include "train/next_steps.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

bool is_run(const fs::path& folder) {
  return fs::is_regular_file(folder / kMetricsFile);
}

/// Runs right below `folder`, by name: those of timestamp_output_dir are in the order of time.
std::vector<fs::path> runs_below(const fs::path& folder) {
  std::vector<fs::path> runs;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.is_directory(error) && is_run(entry.path())) runs.push_back(entry.path());
  }
  std::sort(runs.begin(), runs.end());
  return runs;
}

/// "20261129_10-00-00: 500 of 500 steps, loss 1.2345"
std::string one_line(const fs::path& run) {
  try {
    const auto records = read_metrics(run / kMetricsFile);
    if (records.steps.empty()) return "no step yet";
    const auto& last = records.steps.back();
    return fmt::format("{} of {}, loss {:.4f}", format_count(last.step), counted(last.total_steps, "step"), last.loss);
  } catch (const Error& error) {
    return error.what();
  }
}

std::string list_runs(const fs::path& folder, const std::vector<fs::path>& runs) {
  constexpr std::size_t kListed = 20;
  auto text = fmt::format("{}: not a run itself, but the folder of {}:", folder.string(),
                          counted(static_cast<std::int64_t>(runs.size()), "run"));
  const auto first = runs.size() > kListed ? runs.size() - kListed : 0;
  if (first > 0) text += fmt::format("\n  {} older", counted(static_cast<std::int64_t>(first), "run"));
  for (auto i = first; i < runs.size(); ++i) {
    text += fmt::format("\n  {}: {}", runs[i].filename().string(), one_line(runs[i]));
  }
  text += "\nReport on the latest: lorica report " + shell_word(runs.back().string());
  if (runs.size() > 1) {
    text += fmt::format("\nCompare the last two: lorica report {} {}", shell_word(runs[runs.size() - 2].string()),
                        shell_word(runs.back().string()));
  }
  return text;
}

[[noreturn]] void refuse(const fs::path& folder) {
  const auto name = folder.string();
  if (!fs::exists(folder))
    raise<ConfigError>("{}: there is no such folder. Give the folder of a run (its output_dir).", name);
  // final/, checkpoint-<step>/, metrics.jsonl, …
  auto whole = fs::absolute(folder).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  if (is_run(whole.parent_path())) {
    auto parent = folder.lexically_normal();
    if (!parent.has_filename()) parent = parent.parent_path();
    parent = parent.has_parent_path() ? parent.parent_path() : whole.parent_path();
    raise<ConfigError>("{}: is a part of a run. Type: lorica report {}", name, shell_word(parent.string()));
  }
  if (!fs::is_directory(folder)) {
    raise<ConfigError>("{}: is a file. Give the folder of a run (its output_dir, which holds {}).", name, kMetricsFile);
  }
  if (const auto runs = runs_below(folder); !runs.empty()) throw ConfigError(list_runs(folder, runs));
  if (fs::exists(folder / "config.json")) {
    raise<ConfigError>("{}: is a model, not a run. Give the folder of a run (its output_dir, which holds {}).", name,
                       kMetricsFile);
  }
  raise<ConfigError>(
      "{}: not a run: it holds no {}, and no folder in it does. Give the folder of a run (its output_dir).", name,
      kMetricsFile);
}

template <class Value>
Curve curve_of(std::string name, std::span<const StepMetrics> steps, const Value& value) {
  Curve curve;
  curve.name = std::move(name);
  for (const auto& step : steps) curve.points.emplace_back(static_cast<double>(step.step), value(step));
  return curve;
}

Plot step_plot(std::string title, std::string y_label, const std::vector<Curve>& curves) {
  Plot plot;
  plot.title = std::move(title);
  plot.x_label = "step";
  plot.y_label = std::move(y_label);
  plot.curves = curves;
  plot.whole_x = true;
  return plot;
}

/// Of one quantity by step, with its average, from 0 on.
Plot averaged_plot(std::string title, std::string y_label, Curve curve) {
  const auto note = average_note(curve.points.size());
  auto plot = step_plot(std::move(title), std::move(y_label), with_average(std::move(curve)));
  plot.from_zero = true;
  plot.note = note;
  return plot;
}

/// Steps of both kinds of records: speed and memory are in all.
std::vector<StepMetrics> all_steps(const MetricsRecords& records) {
  auto all = records.steps;
  all.insert(all.end(), records.systems.begin(), records.systems.end());
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return all;
}

/// What of the file couldn't be read, in a line; "" if nothing.
std::string broken_text(const MetricsRecords& records) {
  if (records.broken.empty()) return "";
  constexpr std::size_t kNamed = 3;
  const auto count = static_cast<std::int64_t>(records.broken.size());
  auto text = fmt::format("{} of {} {} passed over, because {} no {}:\n", counted(count, "line"), kMetricsFile,
                          count == 1 ? "was" : "were", count == 1 ? "it is" : "they are", noun_for(count, "record"));
  for (std::size_t i = 0; i < records.broken.size() && i < kNamed; ++i) {
    text += fmt::format("  line {}\n", records.broken[i]);
  }
  if (records.broken.size() > kNamed) text += fmt::format("  and {} more\n", records.broken.size() - kNamed);
  return text;
}

}  // namespace

MetricsRecords load_run(const fs::path& folder) {
  if (!is_run(folder)) refuse(folder);
  auto records = read_metrics(folder / kMetricsFile);
  if (records.steps.empty() && records.evaluations.empty()) {
    raise<DataError>("{}: holds no records: the run ended before its first step", (folder / kMetricsFile).string());
  }
  return records;
}

std::vector<fs::path> write_plots(const fs::path& run_folder, const fs::path& output_folder) {
  const auto records = load_run(run_folder);
  std::vector<std::pair<std::string, Plot>> plots;
  plots.emplace_back("loss", step_plot("Loss", "loss per supervised token", loss_curves(records, "", 0)));
  plots.back().second.note = average_note(records.steps.size());
  if (!records.steps.empty()) {
    const std::span steps = records.steps;
    plots.emplace_back("lr", step_plot("Learning rate", "learning rate",
                                       {curve_of("learning rate", steps, [](const auto& step) { return step.lr; })}));
    plots.back().second.from_zero = true;
    const auto all = all_steps(records);
    plots.emplace_back("throughput",
                       averaged_plot("Throughput", "tokens per second", curve_of("tokens/s", all, [](const auto& step) {
                                       return step.tokens_per_second;
                                     })));
    if (std::any_of(steps.begin(), steps.end(), [](const auto& step) { return step.grad_norm.has_value(); })) {
      plots.emplace_back("grad_norm", averaged_plot("Gradient norm before clipping", "global norm",
                                                    curve_of("gradient norm", steps, [](const auto& step) {
                                                      return step.grad_norm.value_or(std::nan(""));
                                                    })));
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
  const auto records = load_run(run_folder);
  const auto rows = summary_rows(records);
  std::string text;
  if (records.steps.size() > 1) {
    text = "training loss by step\n" +
           to_text(curve_of("", records.steps, [](const auto& step) { return step.loss; }), 64, 8) + "\n";
  }
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.first.size());
  for (const auto& [name, value] : rows) text += fmt::format("{:<{}}  {}\n", name, width, value);
  return text + broken_text(records);
}

void write_report(const fs::path& run_folder) {
  write_plots(run_folder, run_folder);
  fmt::print("{}", summarize(run_folder));
  std::fflush(stdout);
}

}  // namespace lorica::train
