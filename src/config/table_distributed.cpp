// Options of runs on many devices. One process is what is built: what changes nothing there is accepted with a note.
#include "config/table_words.hpp"

namespace lorica::config {

std::vector<Option> distributed_options() {
  const char* alone = "one process has nobody to talk to";
  const auto noted = [](const char* name, Type type, const char* inert, const char* note, const char* help) {
    return Option{.name = name,
                  .group = kDistributed,
                  .field = none(type),
                  .status = Status::noted,
                  .note = note,
                  .inert = {inert},
                  .help = help};
  };
  return {
      {.name = "world_size",
       .aliases = {"num_processes", "num_gpus"},
       .group = kDistributed,
       .field = none(Type::integer),
       .range = at_least(-1),
       .status = Status::not_built,
       .note = "a run is one process on one device",
       .inert = {"-1", "0", "1"},
       .help = "Processes; -1: as many as devices"},
      {.name = "sharding_strategy",
       .group = kDistributed,
       .field = none(Type::text),
       .choices = words({"full_shard", "shard_grad_op", "ddp"}, {"hybrid_full_shard", "hybrid_shard_grad_op"}),
       .status = Status::noted,
       .note = "one process has nothing to shard",
       .inert = {""},
       .help = "How parameters, gradients and optimizer state are spread over processes"},
      noted("use_ddp", Type::boolean, "false", "one process has nothing to shard", "sharding_strategy ddp"),
      noted("no_sync", Type::boolean, "false", alone, "Reduce gradients only at the end of a step"),
      noted("master_addr", Type::text, "localhost", alone, "Host of the first process"),
      noted("master_port", Type::integer, "12355", alone, "Its port"),
      noted("local_rank", Type::integer, "-1", "Lorica starts its processes itself", "Set by launchers"),
      noted("deepspeed", Type::any, "false", "DeepSpeed is not used", "A flag of DeepSpeed's launcher"),
      noted("deepspeed_config", Type::any, "", "DeepSpeed is not used", "A flag of DeepSpeed's launcher"),
      noted("deepscale", Type::any, "false", "DeepSpeed is not used", "A flag of DeepSpeed's launcher"),
      noted("deepscale_config", Type::any, "", "DeepSpeed is not used", "A flag of DeepSpeed's launcher"),
      {.name = "pipeline_stages",
       .group = kDistributed,
       .field = none(Type::integer),
       .range = at_least(1),
       .status = Status::not_built,
       .note = "a run is one process on one device",
       .inert = {"1"},
       .help = "Pipeline stages"},
      noted("partition_method", Type::text, "uniform", "with one stage there is nothing to divide",
            "How layers are dealt to stages: uniform, parameters, type:REGEX"),
      noted("use_column_major_topology", Type::boolean, "false", "with one stage there is nothing to place",
            "Which ranks are neighbours"),
  };
}

}  // namespace lorica::config
