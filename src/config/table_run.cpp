// Options of the run as a whole: where, on what, starting from what.
#include <filesystem>

#include "config/conditions.hpp"
#include "config/table_words.hpp"

namespace lorica::config {
namespace {

/// Whether the folder that a run goes on in is output_dir, or inside it, as far as the names tell.
bool resumes_in_output(const Config& config) {
  if (config.resume.empty() || config.resume == "latest") return true;
  const auto folder = std::filesystem::absolute(config.resume).lexically_normal();
  const auto output = std::filesystem::absolute(config.output_dir).lexically_normal();
  return !folder.lexically_relative(output).string().starts_with("..");
}

}  // namespace

std::vector<Option> run_options() {
  const Commands everywhere = kTrain | kMerge | kGenerate | kForward | kTokenize | kReport;
  return {
      {.name = "preset",
       .group = kRun,
       .commands = kModel | kTokenize,
       .field = of(&Config::preset),
       .choices =
           names_of<Preset>({{Preset::qlora_pipe_lite, "qlora_pipe_lite"}, {Preset::qlora_evolved, "qlora_evolved"}}),
       .help =
           "Whose defaults count. Without it: qlora-pipe-lite if a key is used that only that program has (model_dir, "
           "full_fine_tune, use_control_adapters), else fsdp_qlora"},
      {.name = "output_dir",
       .group = kRun,
       .field = of(&Config::output_dir),
       .evolved = "./qlora_evolved_output",
       .acts_when = {needs::that("a run that isn't resumed from a folder elsewhere", resumes_in_output,
                                 "with resume {resume}: the run goes on in the folder of that checkpoint")},
       .help = "Folder of the run: config.toml, metrics.jsonl, runs/ (TensorBoard), checkpoint-<step>/, final/"},
      {.name = "overwrite_output_dir",
       .group = kRun,
       .field = of(&Config::overwrite_output_dir),
       .help = "Replace what an earlier run left in the output folder; without it that is an error"},
      {.name = "timestamp_output_dir",
       .group = kRun,
       .field = of(&Config::timestamp_output_dir),
       .pipe_lite = "true",
       .acts_when = {needs::that(
           "a new run", [](const Config& c) { return c.resume.empty(); },
           "with resume: the run goes on in its folder")},
       .help = "Make the run's folder YYYYmmdd_HH-MM-SS (UTC) inside output_dir"},
      {.name = "resume",
       .aliases = {"resume_from_checkpoint"},
       .group = kRun,
       .field = switch_or_path(&Config::resume),
       .help = "Go on from the newest valid checkpoint in output_dir, or from the checkpoint folder given"},
      {.name = "seed",
       .group = kRun,
       .commands = kTrain | kGenerate | kTokenize,
       .field = of(&Config::seed),
       .range = at_least(0),
       .acts_when = {{"training, tokenize, or temperature above 0",
                      [](const Circumstances& at) {
                        return at.command != Command::generate || at.config.temperature > 0 ||
                               at.config.load_format == LoadFormat::dummy;
                      },
                      "with temperature 0: the likeliest token is always taken"}},
       .help = "Decides adapter initialization, order of data, dropout and sampling"},
      {.name = "backend",
       .group = kRun,
       .commands = kModel | kMerge,
       .field = of(&Config::backend),
       .choices = names_of<Backend>({}, {"mlx"}),
       .help = "Compute device; auto takes the best there is (cuda, mps, cpu)"},
      {.name = "device",
       .aliases = {"device_id", "gpu_id"},
       .group = kRun,
       .commands = kModel,
       .field = of(&Config::device),
       .range = between(-1, 1023),
       .help = "Which of the CUDA devices that CUDA_VISIBLE_DEVICES shows; -1: the first one, and of several processes "
               "on a machine each its own. A number given to several makes them share that one"},
      {.name = "device_memory_limit",
       .aliases = {"max_device_memory"},
       .group = kRun,
       .commands = kModel,
       .field = size(&Config::device_memory_limit),
       .help = "Most memory that this run takes of a CUDA device, such as 24GiB, to try what a smaller one would hold; "
               "0: all of it. An error on other devices"},
      {.name = "threads",
       .aliases = {"num_threads"},
       .group = kRun,
       .commands = everywhere,
       .field = of(&Config::threads),
       .range = between(0, 4096),
       .help = "CPU threads; 0: as many as there are cores"},
      {.name = "kernels",
       .group = kRun,
       .commands = kModel | kMerge,
       .field = of(&Config::kernels),
       .choices = names_of<Kernels>(),
       .help = "auto: the fastest for this machine; reference: portable ones, to compare with; avx2, avx512: those of "
               "one instruction set, to see what another machine would do"},
      {.name = "check_memory",
       .group = kRun,
       .commands = kModel,
       .field = of(&Config::check_memory),
       .help = "Estimate the memory before loading, and stop with advice if it can't fit"},
      {.name = "stop_on_nan",
       .group = kRun,
       .field = of(&Config::stop_on_nan),
       .help = "A loss or gradient that isn't finite stops the run before the update. Always true"},
      {.name = "verbose",
       .group = kRun,
       .commands = everywhere,
       .field = of(&Config::verbose),
       .help = "Log every option as it was resolved; when training also the modules that are adapted, each micro-batch "
               "with "
               "its rows, and the lines of every process"},
  };
}

}  // namespace lorica::config
