#include "engine/plan/traffic.hpp"

#include <algorithm>

#include "model/layer_costs.hpp"
#include "parallel/pipeline_schedule.hpp"

namespace lorica::engine {
namespace {

double share(int processes) {
  return processes > 1 ? static_cast<double>(processes - 1) / processes : 0.0;
}

double bytes_of(const ModelShape& model, std::size_t block) {
  const bool tied = block + 1 == model.blocks.size() && model.architecture.tied_embeddings;
  return static_cast<double>(model.blocks[block].bytes() + (tied ? model.blocks.front().bytes() : 0));
}

/// Products of one block with `rows` rows, forward: 2 for each weight and row; attention's besides.
double forward_flops(const ModelShape& model, std::size_t block, const BatchShape& batch) {
  const auto rows = static_cast<double>(batch.tokens);
  const auto& shape = model.blocks[block];
  if (shape.kind != model::BlockSpec::Kind::decoder) return rows * shape.product_flops;
  const double adapters = model.full ? 0 : 2 * static_cast<double>(shape.trained_elements);
  const auto sequences = static_cast<double>(batch.sequences);
  const double attention = sequences * model::attention_flops(model.architecture, shape.layer, rows / sequences);
  return rows * (shape.product_flops + adapters) + attention;
}

}  // namespace

StepTraffic step_traffic(const config::Config& config, const ModelShape& model, const ProcessShape& process,
                         const BatchShape& batch) {
  StepTraffic traffic;
  const auto& mesh = process.mesh;
  const auto steps = static_cast<double>(process.micro_batches);
  const auto reductions = config.no_sync ? 1.0 : steps;
  for (std::size_t b = 0; b < model.blocks.size(); ++b) {
    if (!process.owned[b]) continue;
    const auto bytes = bytes_of(model, b);
    const bool head = b + 1 == model.blocks.size();
    // The head's backward follows its forward at once; the embedding's needs no weights.
    const bool again = b > 0 && b >= model.first_trained() && !head;
    const double passes = mesh.reshard_after_forward ? steps * (again ? 2 : 1) : 1;
    traffic.gathered += share(mesh.shards) * bytes * passes;
    const auto& block = model.blocks[b];
    const auto gradients = static_cast<double>(travelling_bytes(config, block, mesh.replicas > 1));
    traffic.reduced += share(mesh.shards) * gradients * reductions;
    traffic.reduced += 2 * share(mesh.replicas) * gradients / mesh.shards * reductions;
    if (config.use_cpu_offload && process.device != DeviceKind::cpu) {
      const auto own = static_cast<double>(block.bytes()) / mesh.shards;
      traffic.offload += own * steps * (again ? 2 : 1) + gradients / mesh.shards * reductions;
    }
  }
  if (mesh.stages > 1) {
    const double activation = static_cast<double>(batch.tokens) * static_cast<double>(model.architecture.hidden_size) *
                              static_cast<double>(model.widths.compute);
    for (std::size_t b = 0; b + 1 < model.blocks.size(); ++b) {
      if (process.owned[b] && !process.owned[b + 1]) traffic.messages += activation * steps;
      if (!process.owned[b] && process.owned[b + 1] && b >= model.first_trained())
        traffic.messages += activation * steps;
    }
  }
  return traffic;
}

double step_flops(const config::Config& config, const ModelShape& model, const ProcessShape& process,
                  const BatchShape& batch) {
  const bool recomputes = config::recompute_policy(config) == config::Recompute::recompute;
  double flops = 0;
  for (std::size_t b = 0; b < model.blocks.size(); ++b) {
    if (!process.owned[b]) continue;
    const auto forward = forward_flops(model, b, batch);
    const bool head = b + 1 == model.blocks.size();
    double passes = 1;
    if (b >= model.first_trained()) {
      passes += 1 + (recomputes && !head ? 1 : 0) + (model.full ? 1 : 0);
    }
    flops += forward * passes;
  }
  return flops * static_cast<double>(process.micro_batches);
}

StepTime step_time(const Plan& plan, const config::Config& config) {
  StepTime time;
  if (plan.flops <= 0) return time;
  time.compute = plan.step_flops / plan.flops;
  double most = 0;
  for (const auto& stage : plan.stages) most = std::max(most, stage.traffic.total() + stage.traffic.offload);
  if (plan.bandwidth > 0) time.network = most / plan.bandwidth;
  if (plan.stages.size() > 1) {
    const auto schedule =
        parallel::training_schedule(static_cast<int>(plan.stages.size()), static_cast<int>(config.pipeline_interleave),
                                    static_cast<int>(plan.micro_batches));
    time.bubble = parallel::simulate(schedule, 1, 2).bubble;
  }
  time.total = std::max(time.compute, time.network) / (1 - time.bubble);
  return time;
}

}  // namespace lorica::engine
