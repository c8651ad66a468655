// Options of the profiler; docs/PROFILING.md says what it writes.
#include "config/conditions.hpp"
#include "config/table_words.hpp"

namespace lorica::config {

std::vector<Option> profiling_options() {
  return {
      {.name = "profile",
       .group = kProfiling,
       .field = of(&Config::profile),
       .help = "Record what some steps spend their time on: a trace for Perfetto or chrome://tracing and a table, by "
               "each process, in profiling_output/iteration_<last step>/"},
      {.name = "profile_memory",
       .group = kProfiling,
       .field = of(&Config::profile_memory),
       .help = "Record what the first step takes and gives back of memory: every event, and a plot, by rank 0"},
      {.name = "profiling_output",
       .aliases = {"profiling_outputs"},
       .group = kProfiling,
       .field = of(&Config::profiling_output),
       .acts_when = {needs::any_profile()},
       .help = "Folder of what the profiler writes; inside the run's folder unless it begins with a slash"},
      {.name = "overwrite_profiling_output",
       .group = kProfiling,
       .field = of(&Config::overwrite_profiling_output),
       .acts_when = {needs::any_profile()},
       .help = "A new run replaces what an earlier one's profiler left in that folder; false: that is an error"},
      {.name = "with_stack",
       .group = kProfiling,
       .field = of(&Config::with_stack),
       .acts_when = {needs::profile()},
       .help =
           "Also write rank<r>_stacks.txt, time by stack, for flame graphs. A stack is one of scopes and operations, "
           "not of C++ functions"},
      {.name = "with_shapes",
       .group = kProfiling,
       .field = of(&Config::with_shapes),
       .acts_when = {needs::profile()},
       .help = "Record the shapes of operations' inputs; the table then tells them apart"},
      {.name = "export_trace",
       .group = kProfiling,
       .field = of(&Config::export_trace),
       .acts_when = {needs::profile()},
       .help = "Write rank<r>.trace.json; false: the tables only"},
      {.name = "export_memory_timeline",
       .group = kProfiling,
       .field = of(&Config::export_memory_timeline),
       .acts_when = {needs::profile()},
       .help = "Also write rank<r>_memory-timeline.html, bytes over time by purpose, and its figures as .json"},
      {.name = "wait_steps",
       .group = kProfiling,
       .field = of(&Config::wait_steps),
       .range = at_least(0),
       .acts_when = {needs::profile(), needs::that(
                                           "repeat above 0", [](const Config& c) { return c.repeat > 0; },
                                           "without repeat: profiling_frequency says how long it waits")},
       .help =
           "With repeat: micro-batches that are left alone at the start of each cycle. Like all four counts rounded "
           "up to whole optimizer steps"},
      {.name = "profiler_warmup_steps",
       .group = kProfiling,
       .field = of(&Config::profiler_warmup_steps),
       .range = at_least(0),
       .acts_when = {needs::profile()},
       .help = "Micro-batches before those that are recorded, in which the profiler makes itself ready"},
      {.name = "active_steps",
       .group = kProfiling,
       .field = of(&Config::active_steps),
       .range = at_least(1),
       .acts_when = {needs::profile()},
       .help = "Micro-batches that are recorded"},
      {.name = "repeat",
       .group = kProfiling,
       .field = of(&Config::repeat),
       .range = at_least(0),
       .acts_when = {needs::profile()},
       .help = "Cycles of waiting, warming up and recording; 0: one every profiling_frequency, to the end of the run"},
      {.name = "profiling_frequency",
       .group = kProfiling,
       .field = of(&Config::profiling_frequency),
       .range = at_least(1),
       .acts_when = {needs::profile(), needs::that(
                                           "repeat 0", [](const Config& c) { return c.repeat == 0; },
                                           "with repeat: wait_steps says how long it waits")},
       .help = "Micro-batches of a cycle if repeat is 0: it waits for what warm-up and recording leave of them"},
  };
}

}  // namespace lorica::config
