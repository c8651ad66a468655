// Options of what a run leaves behind: checkpoints, the result, logs.
#include "config/conditions.hpp"
#include "config/table_words.hpp"

namespace lorica::config {
namespace {

Option wandb(const char* name, std::vector<std::string> aliases, const char* inert, const char* help) {
  return {.name = name,
          .aliases = std::move(aliases),
          .group = kLogging,
          .field = none(Type::text),
          .status = Status::not_built,
          .note = "it belongs to log_to wandb; metrics.jsonl and TensorBoard files are written",
          .inert = {inert},
          .help = help};
}

}  // namespace

std::vector<Option> saving_options() {
  return {
      {.name = "save_model",
       .group = kSaving,
       .field = of(&Config::save_model),
       .help = "Write the result to output_dir/final and checkpoints on the way; false: nothing but logs"},
      {.name = "save_steps",
       .aliases = {"checkpoint_steps", "save_every"},
       .group = kSaving,
       .field = of(&Config::save_steps),
       .range = at_least(0),
       .evolved = "200",
       .acts_when = {needs::saving()},
       .help = "A checkpoint every so many steps; 0: not by steps"},
      {.name = "checkpoint_interval_hours",
       .group = kSaving,
       .field = of(&Config::checkpoint_interval_hours),
       .range = at_least(0),
       .pipe_lite = "1",
       .acts_when = {needs::saving()},
       .help = "A checkpoint every so many hours; 0: not by time"},
      {.name = "save_total_limit",
       .aliases = {"max_checkpoints"},
       .group = kSaving,
       .field = of(&Config::save_total_limit),
       .range = at_least(0),
       .pipe_lite = "3",
       .evolved = "3",
       .acts_when = {needs::saving()},
       .help = "Keep the newest so many checkpoints; 0: all"},
      {.name = "log_to",
       .aliases = {"report_to"},
       .group = kLogging,
       .field = of(&Config::log_to),
       .choices = plain_words({"tqdm", "stdout", "tensorboard", "none"}, {"wandb"}),
       .commas = true,
       .evolved = "tensorboard",
       .help = "tqdm: a progress line; stdout: a line a step; tensorboard: event files in runs/ (alone: and a line a "
               "minute); none; several: a list. metrics.jsonl is always written"},
      {.name = "log_every_n_steps",
       .aliases = {"logging_steps", "steps_per_report"},
       .group = kLogging,
       .field = of(&Config::log_every_n_steps),
       .range = at_least(1),
       .evolved = "10",
       .help = "Thins the records of loss and learning rate, not those of speed and memory; the first step is always "
               "logged"},
      wandb("project_name", {"wandb_project"}, "fsdp_qlora", "wandb: project"),
      wandb("name", {"wandb_name", "wandb_run_name", "run_name"}, "", "wandb: run"),
      wandb("group", {"wandb_group"}, "", "wandb: group"),
      wandb("entity", {"wandb_entity"}, "", "wandb: entity"),
  };
}

}  // namespace lorica::config
