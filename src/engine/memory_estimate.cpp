#include "engine/memory_estimate.hpp"

#include "base/error.hpp"
#include "base/machine.hpp"
#include "base/strings.hpp"
#include "engine/plan/plan.hpp"
#include "engine/plan/recompute_choice.hpp"
#include "parallel/place.hpp"

namespace lorica::engine {

void check_memory(const config::Config& config, const data::MicroBatch& heaviest) {
  if (!config.check_memory || device_kind(config) != DeviceKind::cpu || heaviest.tokens() == 0) return;
  const auto place = parallel::find_place(config);
  auto planned = with_settled_recompute(config, place.local_world);
  planned.world_size = place.world;
  PlanFigures figures;
  figures.tokens = heaviest.tokens();
  // The processes of this machine load at the same time, and share what is free.
  const auto available = machine_memory().available;
  figures.device_memory = available / static_cast<std::uint64_t>(place.local_world);
  figures.time = false;
  const auto plan = make_plan(planned, figures);
  if (plan.fits) return;
  const auto needed = plan.heaviest().memory.total() * static_cast<std::uint64_t>(place.local_world);
  std::string advice = "No setting of this model fits here; take a smaller model or a machine with more memory.";
  if (!plan.remedies.empty()) {
    const auto& remedy = plan.remedies.front();
    advice = fmt::format("{} would fit (about {}{}).", remedy.change, format_bytes(remedy.device),
                         place.local_world > 1 ? " for each process" : "");
  }
  raise<DeviceError>(
      "not enough memory: this run needs about {}, and {} are free. {} (--check_memory false goes on regardless.)",
      format_bytes(needed), format_bytes(available), advice);
}

}  // namespace lorica::engine
