#include "base/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace lorica {

void setup_logging(bool verbose) {
  auto logger = spdlog::get("lorica");
  if (!logger) logger = spdlog::stderr_color_mt("lorica");
  logger->set_pattern("%^%v%$");
  logger->set_level(verbose ? spdlog::level::debug : spdlog::level::info);
  spdlog::set_default_logger(logger);
}

}  // namespace lorica
