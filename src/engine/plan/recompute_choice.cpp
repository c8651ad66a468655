#include "engine/plan/recompute_choice.hpp"

#include <algorithm>

#include "base/machine.hpp"
#include "engine/plan/activations.hpp"

namespace lorica::engine {
namespace {

using config::Recompute;

// Recomputation costs a third of a step and more; an eighth of the memory is what nobody misses.
constexpr std::uint64_t kShare = 8;

bool selective_fits(const config::Config& config, int processes) {
  const auto model = describe_model(config, DeviceKind::cpu);
  BatchShape batch;
  batch.tokens = static_cast<std::uint64_t>(config.batch_size * config.context_length);
  batch.sequences = static_cast<std::uint64_t>(config.batch_size);
  std::uint64_t kept = 0;
  for (std::size_t b = model.first_trained(); b < model.blocks.size(); ++b) {
    const auto& block = model.blocks[b];
    if (block.kind != model::BlockSpec::Kind::decoder) continue;
    const auto memory = layer_memory(model, block, batch, Recompute::selective);
    kept += memory.input + memory.kept;
  }
  return kept <= machine_memory().total / kShare / static_cast<std::uint64_t>(std::max(processes, 1));
}

}  // namespace

config::Config with_settled_recompute(const config::Config& config, int processes) {
  auto settled = config;
  if (config.recompute != Recompute::automatic) return settled;
  settled.recompute = config::recompute_policy(config);
  const bool free_to_choose = settled.recompute == Recompute::recompute && !config.use_activation_cpu_offload;
  if (free_to_choose && device_kind(config) == DeviceKind::cpu && selective_fits(config, processes)) {
    settled.recompute = Recompute::selective;
  }
  return settled;
}

}  // namespace lorica::engine
