// What the metrics.jsonl of run folders tell: plots as SVG files, and a summary with a loss curve for the terminal; of
// several runs, a comparison. Used at the end of training and by `lorica report`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "train/metrics/jsonl.hpp"
#include "train/metrics/plot.hpp"

namespace lorica::train {

/// The records of a run's folder. Throws ConfigError, saying what `folder` is instead and what to type, if it isn't one
/// (a checkpoint, a parent of dated runs, a file, nothing); DataError if it holds no records.
MetricsRecords load_run(const std::filesystem::path& folder);

/// Writes plots/loss.svg, plots/lr.svg, plots/throughput.svg and (if norms were recorded) plots/grad_norm.svg below
/// `output_folder` and returns their paths. Throws as load_run().
std::vector<std::filesystem::path> write_plots(const std::filesystem::path& run_folder,
                                               const std::filesystem::path& output_folder);

/// The summary: a text loss curve; first, last and best loss; evaluations; time, median tokens/s; peak memory; and
/// lines of the file that are no records.
std::string summarize(const std::filesystem::path& run_folder);

/// Both, into the run folder itself; the summary goes to standard output.
void write_report(const std::filesystem::path& run_folder);

/// Two or more runs beside each other: losses, speed, memory, and the options that differ. Their loss curves go into
/// one plot, comparison/loss.svg below `output_folder`. Throws as load_run().
std::string compare(const std::vector<std::filesystem::path>& run_folders, const std::filesystem::path& output_folder);

// What both are made of (report_rows.cpp):

/// Names of facts and their texts.
using Rows = std::vector<std::pair<std::string, std::string>>;
Rows summary_rows(const MetricsRecords& records);

/// The training loss, pale, with its average in front of it where there are enough steps; evaluations as dots. All in
/// one colour, that of number `color`; `name` is put before each one's.
std::vector<Curve> loss_curves(const MetricsRecords& records, const std::string& name, int color);
/// The curve, or the curve paled and its average in front of it.
std::vector<Curve> with_average(Curve curve);
/// What the plot says of with_average()'s averages; "" where there are none.
std::string average_note(std::size_t points);

}  // namespace lorica::train
