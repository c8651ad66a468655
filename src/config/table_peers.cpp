// Options of other programs (transformers, TRL, Axolotl, LLaMA-Factory, torchtune, mlx-lm, and launchers) that are more
// than another name of one of ours: translated where they mean the same, refused with our name where they don't quite,
// accepted where they ask for what happens anyway. Plain synonyms are aliases in the other tables.
#include <fmt/format.h>

#include <filesystem>

#include "config/table_words.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

using Options = std::vector<std::pair<std::string, std::string>>;

Option peer(const char* name, std::vector<std::string> aliases, Type type, const char* help) {
  return {.name = name, .aliases = std::move(aliases), .group = kPeers, .field = none(type), .help = help};
}

/// Means some of our options: `translate` says which.
Option translated(const char* name, std::vector<std::string> aliases, Type type, std::vector<Choice> choices,
                  std::function<Translation(const Value&, const Lookup&)> translate, const char* help) {
  auto option = peer(name, std::move(aliases), type, help);
  option.status = Status::derived;
  option.choices = std::move(choices);
  option.translate = std::move(translate);
  return option;
}

/// Asks for what happens anyway, or for something that has no meaning here.
Option accepted(const char* name, Type type, const char* inert, const char* why) {
  auto option = peer(name, {}, type, why);
  option.status = Status::noted;
  option.note = why;
  option.inert = {inert};
  return option;
}

/// Isn't quite one of ours: refused with what to use, unless its value asks for nothing.
Option refused(const char* name, std::vector<std::string> aliases, Type type, std::vector<std::string> inert,
               const char* use) {
  auto option = peer(name, std::move(aliases), type, use);
  option.status = Status::refused;
  option.note = use;
  option.inert = std::move(inert);
  return option;
}

Option later(const char* name, Type type, std::vector<std::string> inert, const char* help) {
  auto option = peer(name, {}, type, help);
  option.status = Status::not_built;
  option.inert = std::move(inert);
  return option;
}

Translation problem(std::string text) {
  return {.problem = std::move(text)};
}
Translation means(Options options) {
  return {.options = std::move(options)};
}
/// A boolean that means something if it is true.
std::function<Translation(const Value&, const Lookup&)> if_true(Options options) {
  return [options = std::move(options)](const Value& value, const Lookup&) {
    return std::get<bool>(value) ? means(options) : Translation{};
  };
}

Translation held_out(const Value& value, const Lookup&) {
  const double share = std::get<double>(value);
  if (share >= 1)
    return problem(fmt::format("{} is a count of rows; Lorica holds out a share: give eval_fraction", share));
  return means({{"eval_fraction", fmt::format("{}", share)}});
}

Translation save_strategy(const Value& value, const Lookup& given) {
  const auto& when = std::get<std::string>(value);
  if (when == "no") return means({{"save_steps", "0"}});
  if (when == "epoch")
    return problem("checkpoints come by steps or hours: give save_steps or checkpoint_interval_hours");
  if (given("save_steps") == nullptr) return problem("give save_steps, too");
  return {};
}

Translation eval_strategy(const Value& value, const Lookup& given) {
  const auto& when = std::get<std::string>(value);
  if (when == "epoch") return means({{"evals_per_epoch", "1"}});
  if (when == "no") {
    for (const char* name : {"eval_dataset", "eval_fraction", "val_set_size"}) {
      if (given(name) != nullptr) return problem(fmt::format("it contradicts {}: leave one of them out", name));
    }
    return means({{"eval_fraction", "0"}});
  }
  if (given("eval_steps") == nullptr) return problem("give eval_steps, too");
  return {};
}

Translation logging_strategy(const Value& value, const Lookup&) {
  const auto& when = std::get<std::string>(value);
  if (when == "steps") return {};
  return problem(when == "no" ? "metrics.jsonl is always written; for nothing else give log_to none"
                              : "records come by steps: give log_every_n_steps");
}

/// LLaMA-Factory's and mlx-lm's. Adapters on 4-bit weights are asked for beside it.
Translation kind_of_tuning(const Value& value, const Lookup& given) {
  if (value == Value(std::string("full"))) return means({{"train_type", "full"}});
  for (const char* name : {"quantization_bit", "load_in_4bit"}) {
    if (given(name) != nullptr) return {};
  }
  return means({{"train_type", "lora"}});
}

Translation iterations(const Value& value, const Lookup& given) {
  const auto count = std::get<std::int64_t>(value);
  const auto* accumulation = given("gradient_accumulation_steps");
  const auto each = accumulation != nullptr ? std::get<std::int64_t>(*accumulation) : 1;
  if (each < 1 || count % each != 0) {
    return problem(fmt::format("{} micro-batches are no whole number of steps of {}: give max_steps", count, each));
  }
  return means({{"max_steps", fmt::format("{}", count / each)}});
}

std::vector<Option> translated_options() {
  const std::vector<Choice> strategies = plain_words({"no", "steps", "epoch"}, {"best"});
  return {
      translated("val_set_size", {}, Type::number, {}, held_out,
                 "Below 1: eval_fraction (Axolotl, LLaMA-Factory); a count of rows is refused"),
      translated("eval_strategy", {"evaluation_strategy"}, Type::text, strategies, eval_strategy,
                 "no: no evaluation; steps: eval_steps says when; epoch: evals_per_epoch 1"),
      translated("save_strategy", {}, Type::text, strategies, save_strategy,
                 "no: no checkpoints on the way; steps: save_steps says when; epoch: refused"),
      translated("logging_strategy", {}, Type::text, plain_words({"no", "steps", "epoch"}), logging_strategy,
                 "steps: log_every_n_steps says when; others are refused"),
      translated("lora_target_linear", {}, Type::boolean, {}, if_true({{"lora_target_modules", "all-linear"}}),
                 "true is lora_target_modules all-linear (Axolotl)"),
      translated("finetuning_type", {"fine_tune_type"}, Type::text,
                 plain_words({"lora", "full"}, {"freeze", "dora", "oft"}), kind_of_tuning,
                 "train_type full, or lora (with load_in_4bit or quantization_bit: qlora)"),
      translated(
          "quantization_bit", {}, Type::text, plain_words({"4"}, {"2", "3", "5", "6", "8"}),
          [](const Value&, const Lookup&) {
            return means({{"load_in_4bit", "true"}});
          },
          "4 is load_in_4bit (LLaMA-Factory)"),
      translated("iters", {}, Type::integer, {}, iterations,
                 "max_steps, as mlx-lm counts them: micro-batches, not optimizer steps"),
      translated("use_cpu", {"no_cuda"}, Type::boolean, {}, if_true({{"backend", "cpu"}}), "true is backend cpu"),
      translated("disable_tqdm", {}, Type::boolean, {}, if_true({{"log_to", "tensorboard"}}),
                 "true is log_to tensorboard: no progress line"),
  };
}

std::vector<Option> accepted_options() {
  const char* no_padding = "there is no padding anywhere: sequences of any length share a micro-batch as they are";
  const char* threads = "data are read and tokenized by all --threads";
  const char* attention = "the fastest attention that the device has is always used";
  const char* nothing_to_compile = "Lorica is compiled already";
  return {
      accepted("group_by_length", Type::boolean, "false", no_padding),
      accepted("pad_to_sequence_len", Type::boolean, "false", no_padding),
      accepted("pad_to_max_length", Type::boolean, "false", no_padding),
      accepted("padding_free", Type::boolean, "true", no_padding),
      accepted("dataloader_num_workers", Type::integer, "0", threads),
      accepted("dataset_num_proc", Type::integer, "1", threads),
      accepted("dataset_processes", Type::integer, "1", threads),
      accepted("preprocessing_num_workers", Type::integer, "1", threads),
      accepted("dataloader_pin_memory", Type::boolean, "true", "batches are small and made ahead"),
      accepted("overwrite_cache", Type::boolean, "false", "tokenized data are found again by content, never stale"),
      accepted("remove_unused_columns", Type::boolean, "true", "columns that nothing uses are listed and left aside"),
      accepted("flash_attn", Type::any, "auto", attention),
      accepted("sdp_attention", Type::boolean, "false", attention),
      accepted("xformers_attention", Type::boolean, "false", attention),
      accepted("torch_compile", Type::boolean, "false", nothing_to_compile),
      accepted("compile", Type::boolean, "false", nothing_to_compile),
      accepted("gradient_checkpointing_kwargs", Type::any, "", "there is one kind of recomputation"),
      accepted("ddp_find_unused_parameters", Type::boolean, "false", "every process knows what is trained"),
      accepted("ddp_timeout", Type::integer, "1800", "a lost process is noticed by its silence: see peer_timeout"),
      accepted("save_safetensors", Type::boolean, "true", "weights are always saved as safetensors"),
      accepted("save_only_model", Type::boolean, "false",
               "final/ holds the model alone, checkpoints what resuming needs"),
      accepted("logging_first_step", Type::boolean, "true", "the first step is always logged"),
      accepted("logging_dir", Type::text, "", "TensorBoard's files are in runs/ inside the run's folder"),
      accepted("include_num_input_tokens_seen", Type::any, "false", "metrics.jsonl counts tokens at every step"),
      accepted("plot_loss", Type::boolean, "true", "every run ends with its plots; `lorica report` makes them anew"),
      accepted("do_train", Type::boolean, "true", "`lorica train` trains"),
      accepted("do_eval", Type::boolean, "true", "it evaluates if there is something to evaluate on"),
      accepted("eval_on_start", Type::boolean, "true", "a new run always evaluates before its first step"),
      accepted("eval_sample_packing", Type::boolean, "false", "evaluation runs in micro-batches of batch_size"),
      accepted("prediction_loss_only", Type::boolean, "true", "evaluation gives loss and perplexity"),
      accepted("bf16_full_eval", Type::boolean, "false", "evaluation computes as training does"),
      accepted("model_type", Type::text, "", "config.json says it"),
      accepted("tokenizer_type", Type::text, "", "tokenizer.json or tokenizer.model says it"),
      accepted("torch_empty_cache_steps", Type::integer, "0", "freed memory serves the next tensors of its size"),
  };
}

std::vector<Option> refused_options() {
  const char* launch =
      "a launcher starts the processes of several machines: run `torchrun`, `srun` or `mpirun` with "
      "`lorica train` on each of them, which sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT";
  return {
      refused("num_nodes", {"nnodes", "num_machines"}, Type::integer, {"1", "-1"}, launch),
      refused("node_rank", {"machine_rank"}, Type::integer, {"0", "-1"}, launch),
      refused("hostfile", {}, Type::text, {""}, launch),
      refused("include", {}, Type::text, {""}, "choose devices with CUDA_VISIBLE_DEVICES, or with --device for one"),
      refused("exclude", {}, Type::text, {""}, "choose devices with CUDA_VISIBLE_DEVICES, or with --device for one"),
      refused("fsdp", {}, Type::any, {"", "false"}, "give sharding_strategy, and use_cpu_offload for its offload"),
      refused("fsdp_config", {}, Type::any, {""},
              "give sharding_strategy, or an Accelerate file with accelerate_config"),
      refused("lr_scheduler_kwargs", {}, Type::any, {""},
              "give cosine_min_lr_ratio, cosine_cycles, polynomial_power, polynomial_end_lr or exponential_gamma"),
      refused("optim_args", {}, Type::any, {""}, "give beta1, beta2, eps or momentum"),
      refused("adafactor", {}, Type::boolean, {"false"}, "optimizer says which optimizer runs"),
      refused("max_samples", {}, Type::integer, {"-1"},
              "files are used whole: shorten the file, or stop with max_steps (dataset_samples is for sets by name)"),
      refused("val_batches", {}, Type::integer, {"-1"}, "give eval_samples, a number of rows"),
      refused("saves_per_epoch", {}, Type::integer, {"0"}, "give save_steps or checkpoint_interval_hours"),
      refused("max_steps_per_epoch", {}, Type::integer, {"-1"}, "give max_steps, the steps of the whole run"),
      refused("num_layers", {"lora_layers"}, Type::integer, {"-1"},
              "mlx-lm counts layers from the last; name them by number with layers_to_transform, such as 16:31"),
      refused("resume_adapter_file", {}, Type::text, {""}, "give the adapter's folder with --adapter"),
      refused("dataset_dir", {}, Type::text, {""}, "give files, folders or globs with --dataset"),
      refused("test_datasets", {}, Type::any, {""}, "give files with --eval_dataset"),
      refused("stage", {}, Type::text, {"sft"},
              "Lorica trains on texts and answers (sft); preference losses aren't built"),
      refused("do_predict", {}, Type::boolean, {"false"}, "use `lorica generate`"),
      refused("predict_with_generate", {}, Type::boolean, {"false"}, "use `lorica generate`"),
      refused("dataloader_drop_last", {}, Type::boolean, {"false"}, "every row counts, in each epoch"),
      refused("ignore_data_skip", {}, Type::boolean, {"false"}, "a resumed run goes on with the row that comes next"),
      refused("tf32", {}, Type::boolean, {"false"}, "products of float32 are made in float32; choose precision bf16"),
  };
}

std::vector<Option> later_options() {
  return {
      later("load_best_model_at_end", Type::boolean, {"false"}, "Keep the checkpoint with the lowest evaluation loss"),
      later("metric_for_best_model", Type::text, {"", "loss", "eval_loss"}, "What load_best_model_at_end compares"),
      later("early_stopping_patience", Type::integer, {"0"}, "Stop once the evaluation loss no longer falls"),
      later("eval_delay", Type::number, {"0"}, "No evaluation before so many steps"),
      later("auto_find_batch_size", Type::boolean, {"false"},
            "Halve batch_size until it fits (`lorica plan` says what does)"),
      later("label_smoothing_factor", Type::number, {"0"}, "Label smoothing"),
      later("neftune_noise_alpha", Type::number, {"0"}, "Noise on embeddings (NEFTune)"),
      later("loraplus_lr_ratio", Type::number, {"1"}, "A learning rate of its own for B (LoRA+)"),
      later("data_seed", Type::text, {""}, "A seed of its own for the order of data; seed decides it"),
      later("push_to_hub", Type::boolean, {"false"}, "Upload the result"),
      later("hub_model_id", Type::text, {""}, "Where push_to_hub uploads to"),
      later("model_revision", Type::text, {"", "main"}, "A revision of the model on the Hub"),
      later("mask_history", Type::boolean, {"false"}, "Of a conversation, train the last answer only"),
  };
}

}  // namespace

std::vector<Option> peer_options() {
  auto all = translated_options();
  for (auto&& part : {accepted_options(), refused_options(), later_options()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

Translation adapter_or_kind(const Value& value, const Lookup&) {
  const auto& name = std::get<std::string>(value);
  std::error_code error;
  if ((name == "lora" || name == "qlora") && !std::filesystem::exists(name, error))
    return means({{"train_type", name}});
  return {.keep = true};
}

}  // namespace lorica::config
