#include "base/log.hpp"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include "base/error.hpp"

namespace lorica {

void setup_logging(const LogOptions& options) {
  const auto level = options.verbose ? spdlog::level::debug : spdlog::level::info;
  auto shown = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  shown->set_level(options.rank > 0 && !options.verbose ? spdlog::level::warn : level);
  shown->set_pattern(options.rank > 0 ? fmt::format("[rank {}] %^%v%$", options.rank) : "%^%v%$");
  std::vector<spdlog::sink_ptr> sinks{shown};
  if (!options.file.empty()) {
    try {
      auto kept = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
      kept->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
      sinks.push_back(kept);
    } catch (const spdlog::spdlog_ex& error) {
      raise<FileError>("rank_logs: can't write {}: {}", options.file, error.what());
    }
  }
  auto logger = std::make_shared<spdlog::logger>("lorica", sinks.begin(), sinks.end());
  logger->set_level(level);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
}

}  // namespace lorica
