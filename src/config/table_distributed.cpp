// Options of runs on many devices.
#include "config/conditions.hpp"
#include "config/table_words.hpp"

namespace lorica::config {
namespace {

/// Flags of launchers that Lorica doesn't need: accepted, so that their command lines run as they are.
Option launcher_flag(const char* name, const char* inert, const char* note, const char* help) {
  return {.name = name,
          .group = kDistributed,
          .field = none(Type::any),
          .status = Status::noted,
          .note = note,
          .inert = {inert},
          .help = help};
}

std::vector<Option> process_options() {
  return {
      {.name = "world_size",
       .aliases = {"num_processes", "num_gpus", "nproc_per_node"},
       .group = kDistributed,
       .field = of(&Config::world_size),
       .range = at_least(-1),
       .help = "Processes, one for each device; -1: as many as there are devices (1 on the CPU). Under torchrun, SLURM "
               "or Open MPI the launcher's count holds, and another one given here is an error"},
      {.name = "master_addr",
       .aliases = {"main_process_ip"},
       .group = kDistributed,
       .field = of(&Config::master_addr),
       .acts_when = {needs::several_processes()},
       .help = "Host of the first process (rank 0), where all others report"},
      {.name = "master_port",
       .aliases = {"main_process_port"},
       .group = kDistributed,
       .field = of(&Config::master_port),
       .range = between(1, 65535),
       .acts_when = {needs::several_processes()},
       .help = "Its port; where Lorica starts all processes itself and none is given, a free one is taken"},
      {.name = "peer_timeout",
       .group = kDistributed,
       .field = of(&Config::peer_timeout),
       .range = above(0),
       .acts_when = {needs::several_processes()},
       .help = "Seconds without a sign of life after which a process counts as lost and the run stops. A slow step is "
               "no sign of death: processes report beside their work"},
      {.name = "rank_logs",
       .group = kDistributed,
       .field = of(&Config::rank_logs),
       .help = "Folder for one log file of each process (rank-0.log, rank-1.log …); without it the first one's log is "
               "shown, with verbose everyone's"},
      {.name = "accelerate_config",
       .group = kDistributed,
       .field = none(Type::text),
       .status = Status::derived,
       .help = "An Accelerate configuration (YAML; FSDP of version 1 or 2) to take sharding, processes and precision "
               "from. What the command line or the TOML file says counts more; what Lorica can't honour is an error"},
      {.name = "local_rank",
       .group = kDistributed,
       .field = none(Type::integer),
       .status = Status::noted,
       .note = "ranks come from Lorica itself or from the launcher's environment",
       .inert = {"-1"},
       .help = "Set by launchers"},
      launcher_flag("deepspeed", "false", "DeepSpeed is not used", "A flag of DeepSpeed's launcher"),
      launcher_flag("deepspeed_config", "", "DeepSpeed is not used", "A flag of DeepSpeed's launcher"),
      launcher_flag("deepscale", "false", "DeepSpeed is not used", "A flag of DeepSpeed's launcher"),
      launcher_flag("deepscale_config", "", "DeepSpeed is not used", "A flag of DeepSpeed's launcher"),
  };
}

std::vector<Option> sharding_options() {
  return {
      {.name = "sharding_strategy",
       .group = kDistributed,
       .field = of(&Config::sharding_strategy),
       .choices = names_of<Sharding>(),
       .pipe_lite = "ddp",
       .acts_when = {needs::several_processes()},
       .help = "full_shard: parameters, gradients and optimizer state spread over all processes; shard_grad_op: "
               "parameters stay gathered between forward and backward; ddp: a copy each; hybrid_*: sharded within a "
               "node, copied between nodes"},
      {.name = "use_ddp",
       .group = kDistributed,
       .field = none(Type::boolean),
       .status = Status::derived,
       .help = "sharding_strategy ddp"},
      {.name = "hybrid_shard_size",
       .group = kDistributed,
       .field = of(&Config::hybrid_shard_size),
       .range = at_least(0),
       .acts_when = {needs::hybrid(), needs::several_processes()},
       .help = "hybrid_*: processes that share one copy of the model; 0: those of a node"},
      {.name = "no_sync",
       .group = kDistributed,
       .field = of(&Config::no_sync),
       .acts_when = {needs::several_processes(), needs::accumulation()},
       .help = "Reduce gradients once a step rather than after each micro-batch: less traffic, more memory"},
      {.name = "reduce_dtype",
       .group = kDistributed,
       .field = of(&Config::reduce_dtype),
       .choices = dtypes(),
       .acts_when = {needs::several_processes()},
       .help = "What gradients travel in between processes; auto: the dtype of the parameter they belong to. They are "
               "added up in float32"},
      {.name = "prefetch_blocks",
       .group = kDistributed,
       .field = of(&Config::prefetch_blocks),
       .range = between(0, 64),
       .acts_when = {needs::several_processes(), needs::shards()},
       .help = "Blocks whose parameters are gathered ahead of the one at work"},
      {.name = "low_memory",
       .group = kDistributed,
       .commands = kModel,
       .field = of(&Config::low_memory),
       .acts_when = {needs::several_processes()},
       .help =
           "Each process reads and quantizes its share of the blocks and sends the others theirs; false: each reads "
           "everything and keeps its part. One process always reads weight by weight"},
  };
}

std::vector<Option> pipeline_options() {
  return {
      {.name = "pipeline_stages",
       .group = kDistributed,
       .field = of(&Config::pipeline_stages),
       .range = at_least(1),
       .help = "Parts of the model that run in different processes; divides world_size, the rest is data-parallel"},
      {.name = "partition_method",
       .group = kDistributed,
       .field = of(&Config::partition_method),
       .acts_when = {needs::pipeline()},
       .help = "How blocks are dealt to stages: uniform (as many each), parameters (as many trained parameters each), "
               "type:REGEX (as many blocks each whose type the expression finds: embedding, decoderlayer, head)"},
      {.name = "pipeline_interleave",
       .group = kDistributed,
       .field = of(&Config::pipeline_interleave),
       .range = between(1, 64),
       .acts_when = {needs::pipeline()},
       .help = "Runs of blocks that each stage holds: more of them shorten the idle time and move more activations"},
      {.name = "use_column_major_topology",
       .group = kDistributed,
       .field = of(&Config::use_column_major_topology),
       .acts_when = {needs::pipeline()},
       .help =
           "Make the stages of one pipeline neighbouring ranks (rank = pipeline x stages + stage), not the copies of "
           "one stage"},
  };
}

}  // namespace

std::vector<Option> distributed_options() {
  auto all = process_options();
  for (auto&& part : {sharding_options(), pipeline_options()}) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace lorica::config
