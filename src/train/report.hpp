// What a run folder's metrics.jsonl tells: plots as SVG files, and a summary with a loss curve for the terminal. Used
// at the end of training and by `lorica report`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lorica::train {

/// Writes plots/loss.svg, plots/lr.svg, plots/throughput.svg and (if norms were recorded) plots/grad_norm.svg below
/// `output_folder` and returns their paths. Throws FileError (no metrics.jsonl) or DataError (a line that is no record,
/// no records).
std::vector<std::filesystem::path> write_plots(const std::filesystem::path& run_folder,
                                               const std::filesystem::path& output_folder);

/// The summary: a text loss curve; first, last and best loss; evaluations; median tokens/s; peak memory.
std::string summarize(const std::filesystem::path& run_folder);

/// Both, into the run folder itself; the summary goes to standard output.
void write_report(const std::filesystem::path& run_folder);

}  // namespace lorica::train
