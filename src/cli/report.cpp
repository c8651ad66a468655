// `lorica report RUN`: the plots and the summary of a run, finished or still going.
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/files.hpp"
#include "cli/commands.hpp"
#include "train/report.hpp"

namespace lorica::cli {

int run_report(const config::ParsedConfig& parsed) {
  const auto& config = parsed.config;
  if (config.run.empty()) raise<ConfigError>("report needs the run's folder: lorica report RUN");
  const std::filesystem::path run = config.run;
  const std::filesystem::path output = config.output.empty() ? run : std::filesystem::path(config.output);
  const auto plots = train::write_plots(run, output);
  fmt::print("{}", train::summarize(run));
  for (const auto& plot : plots) fmt::print("{}\n", plot.string());
  return 0;
}

}  // namespace lorica::cli
