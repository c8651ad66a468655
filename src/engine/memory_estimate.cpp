#include "engine/memory_estimate.hpp"

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "base/machine.hpp"
#include "base/strings.hpp"
#include "engine/torch/adapter_plan.hpp"
#include "engine/torch/model_builder.hpp"
#include "io/hub.hpp"
#include "model/architecture.hpp"

namespace lorica::engine {
namespace {

std::uint64_t size_of(at::ScalarType type) {
  return type == at::kFloat ? 4 : 2;
}

/// Bytes of one linear weight as it will be stored.
std::uint64_t linear_bytes(const config::Config& config, std::int64_t elements) {
  const auto count = static_cast<std::uint64_t>(elements);
  if (config.train_type != config::TrainType::qlora) return count * size_of(storage_dtype(config));
  const auto blocks = count / static_cast<std::uint64_t>(config.quant_blocksize) + 1;
  return count / 2 + blocks * (config.double_quant ? 1 : 4);
}

/// Numbers a token that one decoder layer holds while it is at work: inputs of norms, projections and attention, and
/// their gradients where `backward`. Counted from model/block.cpp.
std::uint64_t working_numbers(const model::Architecture& a, bool backward) {
  const auto hidden = static_cast<std::uint64_t>(a.hidden_size), wide = static_cast<std::uint64_t>(a.intermediate_size);
  const auto q = static_cast<std::uint64_t>(a.query_size()), kv = static_cast<std::uint64_t>(a.kv_size());
  const auto kept = 4 * hidden + 3 * q + 4 * kv + 3 * wide;
  return kept + (backward ? 3 * hidden + 2 * wide + q : 0);
}

std::uint64_t kept_numbers(const model::Architecture& a, config::Recompute policy) {
  const auto hidden = static_cast<std::uint64_t>(a.hidden_size), wide = static_cast<std::uint64_t>(a.intermediate_size);
  const auto q = static_cast<std::uint64_t>(a.query_size()), kv = static_cast<std::uint64_t>(a.kv_size());
  switch (policy) {
    case config::Recompute::keep:
      return working_numbers(a, false);
    case config::Recompute::selective:
      return 2 * hidden + 2 * q + 2 * kv + 2 * wide;
    default:
      return hidden;
  }
}

std::uint64_t optimizer_slots(const config::Config& config) {
  return config.optimizer == config::OptimizerKind::sgd ? 0 : 2;
}

}  // namespace

MemoryEstimate estimate_memory(const config::Config& config, std::int64_t tokens) {
  const auto arch = model::read_architecture(io::find_model(config.model_name));
  const auto blocks = model::describe_blocks(arch);
  const bool full = config.train_type == config::TrainType::full;
  const auto plan = plan_adapter(config, arch, blocks, true);
  const auto device = choose_device(config);
  const auto compute = size_of(compute_dtype(config, device)), stored = size_of(storage_dtype(config));
  MemoryEstimate estimate;
  std::uint64_t largest = 0;  // a dense copy of one weight in the compute dtype
  for (const auto& block : blocks) {
    for (const auto& spec : block.parameters) {
      if (spec.tied) continue;
      const auto count = static_cast<std::uint64_t>(spec.count());
      const auto bytes = spec.role == model::Role::linear ? linear_bytes(config, spec.count()) : count * stored;
      (full ? estimate.trained : estimate.weights) += bytes;
      if (spec.role == model::Role::linear && (bytes != count * compute)) largest = std::max(largest, count * compute);
    }
  }
  if (plan) {
    for (const auto& [module, target] : plan->targets) {
      estimate.trained += 4 * static_cast<std::uint64_t>(target.rank * (target.in + target.out));
    }
  }
  estimate.gradients = estimate.trained;
  estimate.optimizer = estimate.trained * optimizer_slots(config);
  const auto rows = static_cast<std::uint64_t>(tokens);
  const auto policy = config::recompute_policy(config);
  estimate.activations =
      rows * compute *
          (kept_numbers(arch, policy) * static_cast<std::uint64_t>(arch.layers) + working_numbers(arch, true)) +
      largest;
  estimate.loss = (static_cast<std::uint64_t>(config.logits_chunk_mb) << 20) +
                  rows * 2 * static_cast<std::uint64_t>(arch.hidden_size) * compute;
  // The head's gradient is summed in float32, then rounded to the stored dtype.
  const auto head = static_cast<std::uint64_t>(arch.vocabulary * arch.hidden_size);
  if (full) estimate.loss += stored == 4 ? head * 4 : head * (4 + stored);
  estimate.base = std::uint64_t{160} << 20;
  return estimate;
}

void check_memory(const config::Config& config, const data::MicroBatch& heaviest) {
  if (!config.check_memory || !choose_device(config).is_cpu()) return;
  const auto needed = estimate_memory(config, heaviest.tokens()).total();
  const auto available = machine_memory().available;
  if (needed <= available) return;
  struct Remedy {
    std::string text;
    config::Config config;
    std::int64_t tokens;
  };
  std::vector<Remedy> remedies;
  const auto tokens = heaviest.tokens();
  auto changed = config;
  changed.use_gradient_checkpointing = true;
  changed.recompute = config::Recompute::recompute;
  remedies.push_back({"--recompute recompute", changed, tokens});
  auto small = changed;
  small.batch_size = 1;
  const auto one = std::max<std::int64_t>(1, tokens / std::max<std::int64_t>(1, config.batch_size));
  remedies.push_back({"--recompute recompute --batch_size 1 (with more --gradient_accumulation_steps)", small, one});
  auto quantized = small;
  quantized.train_type = config::TrainType::qlora;
  remedies.push_back({"--train_type qlora --recompute recompute --batch_size 1", quantized, one});
  std::string advice = "No setting of this model fits here; take a smaller model or a machine with more memory.";
  for (const auto& remedy : remedies) {
    const auto need = estimate_memory(remedy.config, remedy.tokens).total();
    if (need <= available) {
      advice = fmt::format("{} would fit (about {}).", remedy.text, format_bytes(need));
      break;
    }
  }
  raise<DeviceError>(
      "not enough memory: this run needs about {}, and {} are free. {} (--check_memory false goes on regardless.)",
      format_bytes(needed), format_bytes(available), advice);
}

}  // namespace lorica::engine
