// What a configuration lacks, what contradicts itself, and what is given without effect.
#include <fmt/format.h>

#include <algorithm>

#include "config/settings.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

class Checker {
 public:
  Checker(Command command, const Chosen& chosen, const std::set<std::string>& tried, ParsedConfig& parsed,
          std::vector<std::string>& problems)
      : command_(command),
        chosen_(chosen),
        tried_(tried),
        parsed_(parsed),
        config_(parsed.config),
        problems_(problems) {}

  void run() {
    required();
    if (is_about_training(command_)) {
      contradictions();
      distribution();
      profiling();
    }
    if (is_about_training(command_) || command_ == Command::forward || command_ == Command::generate) quantization();
  }

 private:
  const Setting* find(const std::string& name) const {
    const auto entry = chosen_.find(name);
    return entry == chosen_.end() ? nullptr : &entry->second;
  }
  /// Where an option was given, or its name.
  std::string source(const std::string& name) const {
    const auto* setting = find(name);
    return setting != nullptr ? setting->source : name;
  }
  /// Given with another value than the preset's: a resolved config names every option.
  bool differs(const std::string& name) const {
    return find(name) != nullptr && !(option(name).read(config_) == option(name).read(preset_defaults(config_.preset)));
  }
  void problem(std::string text) { problems_.push_back(std::move(text)); }

  void need(const std::string& name, bool present, const char* what) {
    if (!present && !tried_.contains(name)) problem(fmt::format("{} is missing: {}", name, what));
  }

  void required() {
    const char* model = "give the folder of the base model, --model_name DIR";
    if (command_ != Command::report && command_ != Command::options)
      need("model_name", !config_.model_name.empty(), model);
    if (is_about_training(command_)) {
      need("output_dir", !config_.output_dir.empty(), "give a folder");
      need("dataset", !config_.dataset.empty(), "give a data set's name or file");
      if (config_.preset == Preset::qlora_pipe_lite) required_by_pipe_lite();
    }
    if (command_ == Command::merge) {
      need("adapter", !config_.adapter.empty(), "give the folder of a PEFT adapter");
      need("output", !config_.output.empty(), "give the folder to write to");
    }
    if (command_ == Command::forward) {
      need("input", !config_.input.empty(), "give a .safetensors file with input_ids");
      need("output", !config_.output.empty(), "give the .safetensors file to write");
    }
    if (command_ == Command::report) {
      need("run", !config_.run.empty(), "give the run's folder: lorica report FOLDER, or several to compare them");
    }
    if (command_ == Command::generate) {
      const bool some = !config_.prompt.empty() || !config_.prompts_file.empty();
      need("prompt", some || tried_.contains("prompts_file"), "give --prompt TEXT or --prompts_file FILE");
      if (!config_.prompt.empty() && !config_.prompts_file.empty()) {
        problem(fmt::format("{} and {}: give one of them", source("prompt"), source("prompts_file")));
      }
    }
    if (command_ == Command::tokenize) {
      const bool dataset = find("dataset") != nullptr || tried_.contains("dataset");
      need("input", !config_.input.empty() || dataset, "give --input FILE, or --dataset for a preview");
      if (!config_.input.empty() && differs("dataset")) {
        problem(fmt::format("{} and {}: give one of them", source("input"), source("dataset")));
      }
    }
  }

  /// qlora-pipe-lite has no default for these.
  void required_by_pipe_lite() {
    const char* none = "the preset qlora-pipe-lite has no default for it";
    for (const char* name : {"lr", "context_length", "dataset", "output_dir"}) need(name, find(name) != nullptr, none);
    if (config_.train_type != TrainType::full) need("lora_rank", find("lora_rank") != nullptr, none);
  }

  void contradictions() {
    if (!config_.resume.empty() && config_.overwrite_output_dir) {
      problem(fmt::format("{} and {}: resuming needs what is in the folder; give one of them", source("resume"),
                          source("overwrite_output_dir")));
    }
    if (!config_.stop_on_nan) {
      problem(fmt::format("{}: always true: after an update that isn't finite nothing can be saved",
                          source("stop_on_nan")));
    }
    if (!config_.eval_dataset.empty() && config_.eval_fraction > 0) {
      problem(fmt::format("{} and {}: give one of them", source("eval_dataset"), source("eval_fraction")));
    }
    if (config_.eval_steps > 0 && config_.evals_per_epoch > 0) {
      problem(fmt::format("{} and {}: give one of them", source("eval_steps"), source("evals_per_epoch")));
    }
    check_recompute();
    const bool none = std::count(config_.log_to.begin(), config_.log_to.end(), "none") > 0;
    if (none && config_.log_to.size() > 1) problem(fmt::format("{}: none excludes the others", source("log_to")));
    if (config_.lr_scheduler == Scheduler::polynomial && config_.lr <= config_.polynomial_end_lr) {
      problem(fmt::format("{}: polynomial_end_lr ({}) must be below lr ({})", source("polynomial_end_lr"),
                          config_.polynomial_end_lr, config_.lr));
    }
    if (config_.apply_gradient_clipping && config_.grad_norm == 0) {
      problem(
          fmt::format("{} 0: clipping would leave nothing of the gradients; to switch it off, say "
                      "apply_gradient_clipping false",
                      source("grad_norm")));
    }
    check_adapter();
    check_targets();
  }

  /// The policy is the finer word and wins; but asking for recomputation and switching it off is a mistake.
  void check_recompute() {
    if (config_.use_gradient_checkpointing || recompute_policy(config_) == Recompute::keep) return;
    problem(fmt::format("{} {} and {} false: they contradict each other; give one", source("recompute"),
                        value_text(config_, "recompute"), source("use_gradient_checkpointing")));
  }

  void check_adapter() {
    if (config_.train_type == TrainType::full && !config_.adapter.empty()) {
      problem(fmt::format("{}: train_type full has no adapter; merge it into the base model first", source("adapter")));
    }
    if (config_.train_type != TrainType::full && config_.lora_target_modules.empty()) {
      problem(fmt::format("{}: the list is empty; give all, default or names", source("lora_target_modules")));
    }
  }

  /// all, all-linear and default stand for a choice of their own.
  void check_targets() {
    const auto& targets = config_.lora_target_modules;
    if (targets.size() < 2) return;
    for (const auto& word : targets) {
      if (word != "all" && word != "all-linear" && word != "default") continue;
      problem(fmt::format("{}: {} can't be combined with names", source("lora_target_modules"), word));
    }
  }

  void quantization() {
    if (config_.train_type == TrainType::qlora && config_.n_bits == 16) {
      problem(fmt::format("{} 16 and train_type qlora: qlora quantizes to 4 bits; say train_type lora for 16",
                          source("n_bits")));
    }
  }

  void distribution() {
    if (find("use_cpu_offload") != nullptr && config_.use_cpu_offload) {
      const bool gpu = config_.backend == Backend::cuda || config_.backend == Backend::mps;
      if (gpu && command_ == Command::train) {
        problem(fmt::format("{}: offloading from a GPU is not built yet", source("use_cpu_offload")));
      } else if (command_ == Command::train) {
        parsed_.notes.push_back(
            fmt::format("{} true: on the CPU, parameters are in host memory anyway; on a GPU they "
                        "stay there, offloading is not built yet",
                        source("use_cpu_offload")));
      }
    }
    if (config_.use_activation_cpu_offload && recompute_policy(config_) != Recompute::recompute) {
      problem(
          fmt::format("{}: what is moved to host memory is the input of each block, so the rest must be "
                      "recomputed: give --recompute recompute",
                      source("use_activation_cpu_offload")));
    }
    if (config_.world_size == 0) problem(fmt::format("{}: 0 processes can't train", source("world_size")));
    if (config_.world_size > 0 && config_.world_size % config_.pipeline_stages != 0) {
      problem(fmt::format("{}: {} stages don't divide {} processes ({})", source("pipeline_stages"),
                          config_.pipeline_stages, config_.world_size, source("world_size")));
    }
    const auto& method = config_.partition_method;
    if (method != "uniform" && method != "parameters" && !method.starts_with("type:")) {
      problem(fmt::format("{}: '{}' is no way of dealing blocks to stages: use uniform, parameters or type:REGEX",
                          source("partition_method"), method));
    }
  }

  void profiling() {
    if ((config_.profile || config_.profile_memory) && config_.profiling_output.empty() &&
        !tried_.contains("profiling_output")) {
      problem(fmt::format("{}: give a folder", source("profiling_output")));
    }
    if (!config_.profile) return;
    const bool repeats = config_.repeat > 0;
    const auto busy = config_.profiler_warmup_steps + config_.active_steps;
    const auto wait = repeats ? config_.wait_steps : config_.profiling_frequency - busy;
    if (wait < 0) {
      problem(fmt::format("{} {}: a cycle has no room for {} {} and {} {}: make it {} or more, or lower one of them",
                          source("profiling_frequency"), config_.profiling_frequency, source("profiler_warmup_steps"),
                          config_.profiler_warmup_steps, source("active_steps"), config_.active_steps, busy));
    }
    if (config_.profile_memory && wait == 0 && config_.profiler_warmup_steps == 0) {
      problem(fmt::format("{} and {}: both would record the first step; let profile begin later ({}, {})",
                          source("profile_memory"), source("profile"), repeats ? "wait_steps" : "profiling_frequency",
                          "profiler_warmup_steps"));
    }
  }

  Command command_;
  const Chosen& chosen_;
  const std::set<std::string>& tried_;
  ParsedConfig& parsed_;
  const Config& config_;
  std::vector<std::string>& problems_;
};

}  // namespace

void check(Command command, const Chosen& chosen, const std::set<std::string>& tried, ParsedConfig& parsed,
           std::vector<std::string>& problems) {
  Checker(command, chosen, tried, parsed, problems).run();
}

}  // namespace lorica::config
