#include "cli/process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/log.hpp"
#include "base/machine.hpp"
#include "base/parallel.hpp"
#include "parallel/place.hpp"

namespace lorica::cli {

void set_up_process(const config::Config& config, config::Command command) {
  const auto place = command == config::Command::train ? parallel::find_place(config) : parallel::Place{};
  set_thread_count(
      config.threads > 0 ? static_cast<int>(config.threads) : std::max(1, available_cores() / place.local_world),
      place.local_world);
  LogOptions log;
  log.verbose = config.verbose;
  log.rank = place.world > 1 ? place.rank : -1;
  if (!config.rank_logs.empty() && command == config::Command::train) {
    log.file = (std::filesystem::path(config.rank_logs) / fmt::format("rank-{}.log", place.rank)).string();
  }
  setup_logging(log);
}

}  // namespace lorica::cli
