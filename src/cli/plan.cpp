// lorica plan
#include <fmt/format.h>

#include "base/strings.hpp"
#include "cli/commands.hpp"
#include "engine/memory_estimate.hpp"

namespace lorica::cli {

int run_plan(const config::ParsedConfig& parsed) {
  const auto& config = parsed.config;
  const auto estimate = engine::estimate_memory(config, config.batch_size * config.context_length);
  fmt::print("memory at the peak: {}\n", format_bytes(estimate.total()));
  return 0;
}

}  // namespace lorica::cli
