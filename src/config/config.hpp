// The run's configuration: one typed field for each option that the code reads, and how it is made from a command line
// and a TOML file. The options themselves (names, ranges, help) are the table in option.hpp; each field's initial value
// here is its default in the `fsdp_qlora` preset.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/account.hpp"
#include "config/data_vocabulary.hpp"
#include "config/vocabulary.hpp"

namespace lorica::config {

/// Paths and names are as the user wrote them; an empty string or list means "none" unless said otherwise.
struct Config {
  // Run
  Preset preset = Preset::fsdp_qlora;
  Backend backend = Backend::automatic;
  std::int64_t device = -1;              ///< number of the CUDA device; -1: each process of a machine its own
  std::int64_t device_memory_limit = 0;  ///< bytes of a CUDA device that this run may take; 0: all
  std::string output_dir = "output";
  bool timestamp_output_dir = false;  ///< the run's folder is output_dir/YYYYmmdd_HH-MM-SS (UTC), not output_dir
  bool overwrite_output_dir = false;
  std::string
      resume;  ///< "" starts anew, "latest" takes the newest valid checkpoint of output_dir, else a checkpoint's folder
  std::int64_t seed = 42;
  std::int64_t threads = 0;  ///< 0: all cores that we may use
  bool verbose = false;
  bool check_memory = true;  ///< estimate before loading, refuse what can't fit
  bool preview = true;       ///< print a few examples with their labels at the start
  bool stop_on_nan = true;   ///< always true; the option exists to say so
  Kernels kernels = Kernels::automatic;

  // Model
  std::string model_name;
  std::string adapter;  ///< PEFT folder: continue from it (train), or base + adapter (generate, forward, merge)
  TrainType train_type = TrainType::qlora;  ///< qlora is the one that quantizes the base, for every command
  LoadFormat load_format = LoadFormat::automatic;
  Precision precision = Precision::bf16;
  DataType compute_dtype = DataType::automatic;

  // Quantization (of the base model; read only if train_type is qlora)
  std::int64_t n_bits = 4;  ///< of quant_type: 4, 8; 16 means not quantized
  QuantType quant_type = QuantType::nf4;
  std::int64_t quant_blocksize = 64;
  bool double_quant = true;

  // LoRA (read unless train_type is full)
  std::int64_t lora_rank = 64;
  double lora_alpha = 16;
  double lora_dropout = 0.1;
  bool use_rslora = false;
  std::vector<std::string> lora_target_modules = {
      "all"};                                     ///< {"default"}, {"all"}, {"all-linear"}, names, or one regex
  std::vector<std::int64_t> layers_to_transform;  ///< sorted, 0-based; empty: all layers
  std::vector<std::string> modules_to_save;
  DataType lora_weight_dtype = DataType::automatic;

  // Data
  std::vector<std::string> dataset = {"alpaca_sample"};  ///< known names, files, folders or globs
  std::string dataset_path;            ///< file or folder that holds the rows of a data set given by name
  std::int64_t dataset_samples = 512;  ///< rows of alpaca_sample, dummy, orca_math
  DatasetFormat dataset_format = DatasetFormat::automatic;
  std::vector<std::string> column_mapping;  ///< "prompt=question": Lorica's column, the data's
  std::vector<std::string> ignore_columns;  ///< left aside, whatever they may mean
  TrainOn train_on = TrainOn::completion;
  std::int64_t context_length = 512;  ///< tokens
  Truncation truncation = Truncation::truncate;
  bool packing = false;
  bool skip_bad_rows = false;
  bool shuffle = true;    ///< false: the order of the files
  bool reshuffle = true;  ///< a new order every epoch
  DocumentAttention document_attention = DocumentAttention::isolated;
  std::string tokenizer_cache;  ///< folder; "": ~/.cache/lorica

  // Evaluation
  std::vector<std::string> eval_dataset;
  double eval_fraction = 0;          ///< of the training rows, held out; 0: none
  std::int64_t eval_steps = 0;       ///< 0: not by steps
  std::int64_t evals_per_epoch = 0;  ///< 0: not by epochs
  std::int64_t eval_samples = 0;     ///< 0: all

  // Optimization
  std::int64_t batch_size = 1;  ///< sequences per micro-batch
  std::int64_t gradient_accumulation_steps = 1;
  std::int64_t num_epochs = 1;
  std::int64_t max_steps = -1;  ///< optimizer steps; < 0: num_epochs decides
  double lr = 1e-5;
  OptimizerKind optimizer = OptimizerKind::adamw;
  double wd = 0.1;                               ///< already 0 where the optimizer has none by default
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-5;  ///< adadelta: rho is beta1
  double momentum = 0;                           ///< read only by sgd
  bool apply_gradient_clipping = false;
  double grad_norm = 0.3;  ///< read only if apply_gradient_clipping
  Scheduler lr_scheduler = Scheduler::constant;
  /// At most one of the three is set. parse() sets warmup_ratio to 0.1 if none is given and lr_scheduler isn't
  /// constant (constant_with_warmup has one).
  std::optional<std::int64_t> warmup_steps;
  std::optional<double> warmup_ratio;
  std::optional<double> warmup_epochs;
  double cosine_min_lr_ratio = 0.1;
  std::int64_t cosine_cycles = 3;
  double polynomial_power = 1;
  double polynomial_end_lr = 1e-7;
  double exponential_gamma = 0.99;
  bool use_gradient_checkpointing = true;
  Recompute recompute = Recompute::automatic;
  std::int64_t logits_chunk_mb = 32;  ///< MiB of logits that exist at a time
  bool use_cpu_offload = true;        ///< shards, gradients and optimizer state in host memory; on the CPU they are
  bool use_activation_cpu_offload = false;  ///< what is kept for backward waits in host memory

  // Many devices
  std::int64_t world_size = -1;  ///< processes; -1: as many as there are devices (1 on the CPU)
  Sharding sharding_strategy = Sharding::full_shard;
  std::int64_t hybrid_shard_size = 0;  ///< hybrid_*: processes that share one copy; 0: those of a node
  bool no_sync = false;                ///< gradients are reduced at the end of a step, not after each micro-batch
  DataType reduce_dtype = DataType::automatic;  ///< of gradients while they are summed; automatic: their own
  std::int64_t prefetch_blocks = 1;             ///< blocks that are gathered ahead of the one at work
  bool low_memory = true;                       ///< each process reads and quantizes its share of the blocks only
  std::string master_addr = "localhost";        ///< host of rank 0
  std::int64_t master_port = 12355;  ///< its port; if not given, a free one where Lorica starts the processes
  double peer_timeout = 15;          ///< seconds without a sign of life until a process counts as lost
  std::string rank_logs;             ///< folder for one log file of each process; "": none
  std::int64_t pipeline_stages = 1;
  std::string partition_method = "uniform";  ///< "uniform", "parameters", "type:REGEX"
  std::int64_t pipeline_interleave = 1;      ///< runs of blocks that each stage holds; 1: one-forward-one-backward
  bool use_column_major_topology = false;    ///< a pipeline's stages are neighbouring ranks
  std::int64_t eval_gradient_accumulation_steps = 0;  ///< micro-batches in a pipeline's evaluation; 0: as in training

  // Saving and logging
  bool save_model = true;
  std::int64_t save_steps = 0;                                ///< 0: only at the end
  double checkpoint_interval_hours = 0;                       ///< 0: not by time
  std::int64_t save_total_limit = 0;                          ///< 0: keep all
  std::vector<std::string> log_to = {"tqdm", "tensorboard"};  ///< of tqdm, stdout, tensorboard; {"none"} or empty: none
  std::int64_t log_every_n_steps = 1;

  // Profiling
  bool profile = false, profile_memory = false;
  std::string profiling_output = "profiles";  ///< relative: inside the run's folder
  bool overwrite_profiling_output = true;
  bool with_stack = false, with_shapes = false, export_trace = true, export_memory_timeline = false;
  /// Micro-batches of a cycle; without a repeat, profiling_frequency makes the first of them.
  std::int64_t wait_steps = 0, profiler_warmup_steps = 1, active_steps = 2;
  std::int64_t repeat = 0;  ///< cycles; 0: no end
  std::int64_t profiling_frequency = 10;

  // merge, generate, forward, tokenize, report
  std::string input;                        ///< forward: .safetensors with input_ids; tokenize: text file
  std::string output;                       ///< file, or folder for merge; "": standard output where that makes sense
  DataType dtype = DataType::automatic;     ///< of merged weights
  double scale = 1;                         ///< factor on the adapter while merging
  std::int64_t shard_size = 5'000'000'000;  ///< bytes of one weight file
  std::vector<std::string> prompt;
  std::string prompts_file;              ///< one prompt a line, or .jsonl
  std::string prompt_template = "none";  ///< one of data/templates.hpp
  std::int64_t max_new_tokens = 128;
  double temperature = 0;  ///< 0: greedy
  std::int64_t top_k = 0;  ///< 0: off
  double top_p = 1;
  std::vector<std::string> stop;
  std::vector<std::string> run;  ///< report: folders of runs; several are compared

  // plan
  std::int64_t tokens = 0;         ///< of the heaviest micro-batch; 0: batch_size × context_length
  std::int64_t device_memory = 0;  ///< bytes of one device; 0: not given
  std::int64_t host_memory = 0;    ///< bytes of this kind of machine; 0: this one's
  double tflops = 0;               ///< of one device's products; 0: measured, if it is here
  std::int64_t bandwidth = 0;      ///< bytes that a process sends in a second; 0: not given
  bool json = false;

  bool markdown = false;

  bool operator==(const Config&) const = default;
};

struct ParsedConfig {
  Config config;
  std::string preset;              ///< "fsdp_qlora", "qlora-pipe-lite" or "qlora-evolved"
  std::vector<std::string> notes;  ///< lines to print first: the preset, and what happens instead of what was asked
  std::set<std::string> given;     ///< canonical names that the user set (command line or TOML)
  /// Of those, the ones that must act or be accounted for (all of the command line; of a file, which may be a resolved
  /// one that names everything, those that aren't the preset's): canonical name, and where it stands ("run.toml:3:
  /// lr").
  std::map<std::string, std::string> asked;
  Account account;  ///< options that were given and can't act in this run, and why
};

/// Parses the arguments that follow the command's name: options, and the command's positional argument (train: a TOML
/// file, as with --config; report: the run's folder). Command line over TOML over preset. Throws one ConfigError that
/// lists every problem, each with its source (`--lr` or `run.toml:12`).
ParsedConfig parse(Command command, const std::vector<std::string>& arguments);

/// Accounts anew for the options that were asked for and can't act in this run (ParsedConfig::account), and returns one
/// line for each that is refused because of it. parse() does this with `processes` 0, not known yet; whoever knows how
/// many take part does it again.
std::vector<std::string> account_for_options(Command command, int processes, ParsedConfig& parsed);

/// parse() for a TOML file alone.
ParsedConfig parse_toml_file(const std::filesystem::path& path, Command command = Command::train);
Config from_toml_file(const std::filesystem::path& path, Command command = Command::train);

/// The configuration with every value written out, in the table's order; parse() of it gives an equal Config.
std::string to_toml(const Config& config, Command command = Command::train);

/// Commands that are about a training run: train, and plan, which foretells one.
constexpr bool is_about_training(Command command) {
  return command == Command::train || command == Command::plan;
}

/// "train", "merge", …
std::string_view command_name(Command command);

/// A canonical option's value as it would be written in TOML ("0.0001", "\"bf16\""); for messages and run logs.
std::string value_text(const Config& config, std::string_view option);

/// What `recompute` comes to: keep, recompute or selective.
Recompute recompute_policy(const Config& config);

}  // namespace lorica::config
