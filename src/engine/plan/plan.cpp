#include "engine/plan/plan.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/machine.hpp"
#include "engine/cuda/facts.hpp"
#include "engine/engine.hpp"
#include "engine/plan/recompute_choice.hpp"
#include "engine/plan/remedies.hpp"
#include "engine/plan/traffic.hpp"
#include "engine/torch/model_builder.hpp"
#include "parallel/pipeline_schedule.hpp"

namespace lorica::engine {
namespace {

/// A process of each stage. All processes of a plan stand on one machine unless hybrid_shard_size says how large one
/// is.
std::vector<ProcessShape> processes_of(const config::Config& config, const ModelShape& model, DeviceKind device,
                                       int world) {
  parallel::Place place;
  place.world = world;
  place.local_world = config.hybrid_shard_size > 0 ? static_cast<int>(config.hybrid_shard_size) : world;
  std::vector<std::vector<parallel::BlockRun>> runs{{{0, model.blocks.size()}}};
  const auto stages = static_cast<int>(config.pipeline_stages), chunks = static_cast<int>(config.pipeline_interleave);
  const auto micro_batches = static_cast<int>(config.gradient_accumulation_steps);
  if (stages > 1) {
    std::vector<parallel::BlockFacts> facts;
    for (const auto& block : model.blocks) {
      facts.push_back(block_facts(block.kind, static_cast<std::int64_t>(block.trained_elements)));
    }
    runs = parallel::partition(facts, config.partition_method, stages, chunks);
  }
  std::vector<ProcessShape> processes;
  for (int stage = 0; stage < stages; ++stage) {
    ProcessShape process;
    process.device = device;
    process.mesh = parallel::make_mesh(config, place);
    process.mesh.stage = stage;
    process.owned.assign(model.blocks.size(), false);
    for (const auto& run : runs[static_cast<std::size_t>(stage)]) {
      for (auto b = run.begin; b < run.end; ++b) process.owned[b] = true;
    }
    process.micro_batches = static_cast<std::uint64_t>(micro_batches);
    process.chunks = static_cast<std::uint64_t>(stages > 1 ? chunks : 1);
    process.in_flight = process.chunks;
    if (stages > 1) {
      const auto schedule = parallel::training_schedule(stages, chunks, micro_batches);
      process.in_flight = static_cast<std::uint64_t>(std::max(1, schedule.most_in_flight(stage)));
    }
    processes.push_back(std::move(process));
  }
  return processes;
}

BatchShape batch_of(const config::Config& config, std::int64_t tokens) {
  BatchShape batch;
  batch.tokens = static_cast<std::uint64_t>(tokens);
  batch.sequences = static_cast<std::uint64_t>(std::max<std::int64_t>(1, config.batch_size));
  batch.dropout = config.lora_dropout;
  return batch;
}

void fill_limits(const PlanFigures& figures, Plan& plan) {
  const auto here = machine_memory();
  plan.host_memory = figures.host_memory > 0 ? figures.host_memory : here.available;
  plan.device_memory = figures.device_memory;
  if (plan.device_memory == 0 && plan.device == DeviceKind::cpu) {
    plan.device_memory = plan.host_memory / static_cast<std::uint64_t>(plan.sharing());
  }
  for (const auto& stage : plan.stages) {
    plan.host_needed += stage.memory.host * static_cast<std::uint64_t>(stage.processes);
  }
  const auto device = plan.heaviest().memory.total();
  plan.fits = (plan.device_memory == 0 || device <= plan.device_memory) &&
              (plan.host_needed == 0 || plan.host_needed <= plan.host_memory);
}

}  // namespace

const StagePlan& Plan::heaviest() const {
  return *std::max_element(stages.begin(), stages.end(),
                           [](const StagePlan& a, const StagePlan& b) { return a.memory.total() < b.memory.total(); });
}

int planned_processes(const config::Config& config) {
  if (config.world_size > 0) return static_cast<int>(config.world_size);
  if (device_kind(config) != DeviceKind::cuda) return 1;
  return std::max<int>(1, static_cast<int>(cuda::read_facts().devices.size()));
}

Plan make_plan(const config::Config& asked, const PlanFigures& figures) {
  Plan plan;
  plan.device = device_kind(asked);
  plan.processes = planned_processes(asked);
  plan.machines = std::clamp(figures.machines, 1, plan.processes);
  const auto config = with_settled_recompute(asked, plan.processes);
  plan.tokens = figures.tokens > 0 ? figures.tokens : config.batch_size * config.context_length;
  plan.micro_batches = config.gradient_accumulation_steps;
  const auto model = describe_model(config, plan.device);
  plan.account = model.account;
  plan.parameters = model::parameter_count(model.architecture);
  for (const auto& block : model.blocks) plan.trainable += static_cast<std::int64_t>(block.trained_elements);
  const auto batch = batch_of(config, plan.tokens);
  const auto evaluation = batch_of(config, figures.eval_tokens > 0 ? figures.eval_tokens : plan.tokens);
  const auto processes = processes_of(config, model, plan.device, plan.processes);
  for (const auto& process : processes) {
    StagePlan stage;
    stage.stage = process.mesh.stage;
    stage.processes = process.mesh.data_parallel();
    for (std::size_t b = 0; b < process.owned.size(); ++b) {
      if (!process.owned[b]) continue;
      stage.last_block = b;
      if (b > 0 && !process.owned[b - 1] && stage.first_block == 0) stage.first_block = b;
    }
    stage.memory = estimate_process(config, model, process, batch, evaluation);
    stage.traffic = step_traffic(config, model, process, batch);
    plan.shards = process.mesh.shards;
    plan.replicas = process.mesh.replicas;
    plan.step_flops = std::max(plan.step_flops, step_flops(config, model, process, batch));
    plan.stages.push_back(std::move(stage));
  }
  auto limits = figures;
  if (limits.device_memory == 0) limits.device_memory = static_cast<std::uint64_t>(asked.device_memory_limit);
  fill_limits(limits, plan);
  if (figures.time) {
    plan.flops = figures.flops;
    plan.bandwidth = figures.bandwidth;
    // Where the processes of this machine's CPU share its cores, so do they share what was measured.
    if (plan.flops == 0 && plan.device == DeviceKind::cpu) {
      plan.flops = measure_matrix_speed(config) * 1e9 / static_cast<double>(plan.processes);
    }
    plan.time = step_time(plan, config);
  }
  if (!plan.fits && figures.remedies) find_remedies(config, figures, plan);
  return plan;
}

}  // namespace lorica::engine
