// `lorica report RUN`: the plots and the summary of a run, finished or still going; of several runs, a comparison.
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/files.hpp"
#include "cli/commands.hpp"
#include "train/report.hpp"

namespace lorica::cli {

int run_report(const config::ParsedConfig& parsed) {
  const auto& config = parsed.config;
  if (config.run.empty()) raise<ConfigError>("report needs the run's folder: lorica report RUN");
  const std::vector<std::filesystem::path> runs(config.run.begin(), config.run.end());
  const auto output = config.output.empty() ? runs.front() : std::filesystem::path(config.output);
  if (runs.size() > 1) {
    fmt::print("{}", train::compare(runs, output));
    return 0;
  }
  const auto plots = train::write_plots(runs.front(), output);
  fmt::print("{}", train::summarize(runs.front()));
  for (const auto& plot : plots) fmt::print("{}\n", plot.string());
  return 0;
}

}  // namespace lorica::cli
