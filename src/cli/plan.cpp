// `lorica plan`: what a training run will need, from config.json alone.
#include <fmt/format.h>

#include "base/log.hpp"
#include "cli/commands.hpp"
#include "engine/adapter_options.hpp"
#include "engine/plan/plan.hpp"

namespace lorica::cli {

int run_plan(const config::ParsedConfig& asked) {
  auto parsed = asked;
  engine::adopt_adapter_options(parsed);
  const auto& config = parsed.config;
  engine::PlanFigures figures;
  figures.tokens = config.tokens;
  figures.device_memory = static_cast<std::uint64_t>(config.device_memory);
  figures.host_memory = static_cast<std::uint64_t>(config.host_memory);
  figures.flops = config.tflops * 1e12;
  figures.bandwidth = static_cast<double>(config.bandwidth);
  const auto plan = engine::make_plan(config, figures);
  for (const auto& line : plan.account.lines()) spdlog::warn("{}", line);
  fmt::print("{}", config.json ? engine::plan_json(plan) : engine::plan_text(plan));
  return plan.fits ? 0 : 2;
}

}  // namespace lorica::cli
