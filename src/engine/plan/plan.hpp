// `lorica plan`: what a run will need before it is started: memory by process, bytes moved, time of a step, and the
// cheapest change that makes it fit.
#pragma once

#include <string>
#include <vector>

#include "base/account.hpp"
#include "engine/memory_estimate.hpp"
#include "engine/plan/timeline.hpp"

namespace lorica::engine {

/// Bytes that one process sends in a step.
struct StepTraffic {
  double gathered = 0;  ///< all-gathers of parameters
  double reduced = 0;   ///< gradients
  double messages = 0;  ///< activations and their gradients between pipeline stages
  double offload = 0;   ///< between a GPU and host memory (not on the network)
  double total() const { return gathered + reduced + messages; }
};

struct StepTime {
  double compute = 0;  ///< seconds of products, recomputation included
  double network = 0;  ///< of traffic; overlaps with compute
  double bubble = 0;   ///< share of the step that a pipeline's stages are idle
  double total = 0;
};

/// One pipeline stage: its processes are alike.
struct StagePlan {
  int stage = 0, processes = 1;
  std::size_t first_block = 0, last_block = 0;
  MemoryEstimate memory;
  StepTraffic traffic;
};

struct Remedy {
  std::string change;  ///< options to add
  std::uint64_t device = 0, host = 0;
};

struct Plan {
  DeviceKind device = DeviceKind::cpu;
  int processes = 1, shards = 1, replicas = 1;
  std::int64_t tokens = 0, micro_batches = 1;
  std::int64_t parameters = 0, trainable = 0;
  Account account;  ///< what of the base model's and the adapter's files nothing uses
  std::vector<StagePlan> stages;
  int machines = 1;
  std::uint64_t device_memory = 0;  ///< limit of one process: of its device, or its share of the host's; 0: none known
  std::uint64_t host_memory = 0;    ///< of one machine
  std::uint64_t host_needed = 0;    ///< of all processes of this machine together
  bool fits = true;
  double flops = 0, bandwidth = 0;  ///< per second and device; bytes per second and process. 0: not known
  double step_flops = 0;            ///< of one process in a step, recomputation included
  StepTime time;
  std::vector<Remedy> remedies;  ///< cheapest first; those that make it fit
  bool beyond = false;           ///< nothing tried makes it fit
  const StagePlan& heaviest() const;
  /// Processes that share one machine's memory.
  int sharing() const { return (processes + machines - 1) / machines; }
};

struct PlanFigures {
  std::int64_t tokens = 0;          ///< of the heaviest micro-batch; 0: batch_size × context_length
  std::int64_t eval_tokens = 0;     ///< of the heaviest one of evaluations; 0: no more than of training
  std::uint64_t device_memory = 0;  ///< of a GPU, or for each process on the CPU; 0: unknown, or a share of the host's
  std::uint64_t host_memory = 0;    ///< of each machine; 0: what this one has free
  int machines = 1;                 ///< that the processes are spread over
  double flops = 0;                 ///< 0: measured where the device is here
  double bandwidth = 0;
  bool time = true;      ///< estimate the step's time
  bool remedies = true;  ///< look for changes if it doesn't fit
};

/// Processes of the run: world_size, or with -1 one (on the CPU), or as many GPUs as there are here.
int planned_processes(const config::Config& config);

Plan make_plan(const config::Config& config, const PlanFigures& figures);

std::string plan_text(const Plan& plan);
std::string plan_json(const Plan& plan);

}  // namespace lorica::engine
