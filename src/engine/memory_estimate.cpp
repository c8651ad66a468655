#include "engine/memory_estimate.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/machine.hpp"
#include "base/strings.hpp"
#include "engine/plan/plan.hpp"
#include "engine/plan/recompute_choice.hpp"
#include "engine/torch/model_builder.hpp"
#include "io/hub.hpp"
#include "parallel/place.hpp"

namespace lorica::engine {
namespace {

bool is_checked(const config::Config& config) {
  return config.check_memory && device_kind(config) == DeviceKind::cpu;
}

/// The plan of a run that is being started here: the processes of this machine share what it has free.
Plan plan_here(const config::Config& config, std::int64_t tokens, std::int64_t eval_tokens, bool remedies) {
  const auto place = parallel::find_place(config);
  auto planned = with_settled_recompute(config, place.local_world);
  planned.world_size = place.world;
  PlanFigures figures;
  figures.tokens = std::max<std::int64_t>(1, tokens);
  figures.eval_tokens = std::max<std::int64_t>(1, eval_tokens);
  figures.host_memory = machine_memory().available;
  figures.machines = std::max(1, place.world / std::max(1, place.local_world));
  figures.time = false;
  figures.remedies = remedies;
  return make_plan(planned, figures);
}

}  // namespace

void check_memory(const config::Config& config, std::int64_t tokens, std::int64_t eval_tokens) {
  if (!is_checked(config)) return;
  const auto plan = plan_here(config, tokens, eval_tokens, true);
  if (plan.fits) return;
  const auto here = static_cast<std::uint64_t>(plan.sharing());
  std::string advice = "No change tried makes it fit: take a smaller model or a machine with more memory.";
  if (!plan.remedies.empty()) {
    const auto& remedy = plan.remedies.front();
    advice = fmt::format("{} would fit (about {}{}).", remedy.change, format_bytes(remedy.device),
                         here > 1 ? " for each process" : "");
  }
  raise<DeviceError>(
      "not enough memory: this run needs about {}{}, and {} are free. {} (--check_memory false goes on regardless.)",
      format_bytes(plan.heaviest().memory.total() * here),
      here > 1 ? fmt::format(" for its {} processes on this machine", here) : "", format_bytes(plan.host_memory),
      advice);
}

bool check_start(const config::Config& config) {
  model::read_architecture(io::find_model(config.model_name));
  const auto device = choose_device(config);
  check_device_options(config, device);
  if (!is_checked(config)) return true;
  check_memory(config, config.batch_size);
  return plan_here(config, config.batch_size * config.context_length, 0, false).fits;
}

}  // namespace lorica::engine
