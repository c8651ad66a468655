// Options of fsdp_qlora's profiler, to come.
#include "config/table_words.hpp"

namespace lorica::config {

std::vector<Option> profiling_options() {
  const auto later = [](const char* name, Type type, std::vector<std::string> inert, const char* help) {
    return Option{.name = name,
                  .group = kProfiling,
                  .field = none(type),
                  .status = Status::not_built,
                  .inert = std::move(inert),
                  .help = help};
  };
  return {
      later("profile", Type::boolean, {"false"}, "Write traces of steps"),
      later("profile_memory", Type::boolean, {"false"}, "Write the allocator's history of the first batch"),
      later("profiling_output", Type::text, {"profiles"}, "Folder of the traces"),
      later("overwrite_profiling_output", Type::boolean, {"true"}, "Replace traces that are there"),
      later("with_stack", Type::boolean, {"false"}, "Record call stacks"),
      later("with_shapes", Type::boolean, {"false"}, "Record shapes"),
      later("export_trace", Type::boolean, {"true"}, "Write trace files"),
      later("export_memory_timeline", Type::boolean, {"false"}, "Write the memory timeline"),
      later("wait_steps", Type::integer, {"0", "1"}, "Steps skipped before each cycle"),
      later("profiler_warmup_steps", Type::integer, {"1"}, "Steps traced and thrown away"),
      later("active_steps", Type::integer, {"2"}, "Steps traced"),
      later("repeat", Type::integer, {"0"}, "Cycles; 0: no end"),
      later("profiling_frequency", Type::integer, {"10"}, "Steps of a cycle if repeat is 0"),
  };
}

}  // namespace lorica::config
