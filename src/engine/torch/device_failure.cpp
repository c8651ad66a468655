#include "engine/torch/device_failure.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "engine/cuda/memory.hpp"
#include "engine/plan/plan.hpp"
#include "engine/torch/cuda_checks.hpp"
#include "parallel/ending.hpp"

namespace lorica::engine {
namespace {

/// The plan's first change that needs clearly less than this run does by the same reckoning.
std::string advice(const DeviceUse& use) {
  PlanFigures figures;
  figures.tokens = use.tokens;
  figures.time = figures.remedies = false;
  const auto needed = make_plan(*use.config, figures).heaviest().memory.total();
  figures.device_memory = needed / 10 * 9;
  figures.remedies = true;
  for (const auto& remedy : make_plan(*use.config, figures).remedies) {
    if (remedy.change.find("use_cpu_offload") != std::string::npos) continue;  // from a GPU it isn't built yet
    return fmt::format(" By the plan this run needs about {}, and with {} about {}.", format_bytes(needed),
                       remedy.change, format_bytes(remedy.device));
  }
  return "";
}

std::string state_of(const DeviceUse& use) {
  if (!use.device.is_cuda()) return "";
  const auto memory = cuda::device_memory(use.device.index());
  const auto limit = static_cast<std::uint64_t>(use.config->device_memory_limit);
  return fmt::format(" This run holds {} of {}{}.{}", format_bytes(memory.reserved), format_bytes(memory.total),
                     limit > 0 ? fmt::format(" and may hold {} (--device_memory_limit)", format_bytes(limit)) : "",
                     memory_held_by_others(memory));
}

}  // namespace

void raise_out_of_memory(const DeviceUse& use, const c10::Error& error) {
  std::string help;
  try {
    help = state_of(use) + advice(use);
  } catch (const std::exception&) {
    // What can't be found out is left out.
  }
  raise<DeviceError>("out of memory{} while {}: {}{}", use.device.is_cpu() ? "" : " on " + use.device.str(),
                     use.activity, parallel::first_line(error.what_without_backtrace()), help);
}

void raise_lost_device(const DeviceUse& use, const c10::Error& error) {
  throw DeviceError(fmt::format("{} failed while {}: {}. Checkpoints that were written are whole: go on with --resume "
                                "true.",
                                use.device.str(), use.activity, parallel::first_line(error.what_without_backtrace())),
                    1);
}

}  // namespace lorica::engine
