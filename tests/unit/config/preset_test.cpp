// Presets: which one is taken, what values follow from others, and what other programs' options mean.
#include "config/helpers.hpp"
#include "config/option.hpp"

namespace lorica::config::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const Words kPipeLite = {"--model_dir", "m",  "--lr",      "2e-5", "--sequence_len", "4096",
                         "--lora_rank", "16", "--dataset", "d",    "--output_dir",   "o"};

Words plus(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(Preset, FsdpQloraIsTheDefault) {
  const auto parsed = train({});
  EXPECT_EQ(parsed.preset, "fsdp_qlora");
  EXPECT_EQ(parsed.notes.front(), "preset fsdp_qlora (the default)");
  const auto& c = parsed.config;
  EXPECT_EQ(c.train_type, TrainType::qlora);
  EXPECT_EQ(c.precision, Precision::bf16);
  EXPECT_EQ(
      std::make_tuple(c.batch_size, c.context_length, c.gradient_accumulation_steps, c.num_epochs, c.dataset_samples),
      std::make_tuple(1, 512, 1, 1, 512));
  EXPECT_EQ(std::make_tuple(c.lora_rank, c.lora_alpha, c.lora_dropout), std::make_tuple(64, 16.0, 0.1));
  EXPECT_EQ(std::make_tuple(c.lr, c.wd, c.beta1, c.beta2, c.eps), std::make_tuple(1e-5, 0.1, 0.9, 0.95, 1e-5));
  EXPECT_EQ(std::make_tuple(c.apply_gradient_clipping, c.grad_norm), std::make_tuple(false, 0.3));
  EXPECT_THAT(c.lora_target_modules, ElementsAre("all"));
  EXPECT_TRUE(c.save_model);
  EXPECT_TRUE(c.double_quant);
}

TEST(Preset, PipeLiteIsChosenByItsOwnKeys) {
  const auto parsed = parse(Command::train, kPipeLite);
  EXPECT_EQ(parsed.preset, "qlora-pipe-lite");
  EXPECT_EQ(parsed.notes.front(),
            "preset qlora-pipe-lite (because of model_dir; preset = \"fsdp_qlora\" overrides that)");
  EXPECT_THAT(parsed.notes, Contains(HasSubstr("rms_ratio is not built yet; constant is used")));
  const auto& c = parsed.config;
  EXPECT_EQ(c.train_type, TrainType::lora);
  EXPECT_EQ(c.lora_alpha, 16.0);  // the rank
  EXPECT_EQ(std::make_tuple(c.beta1, c.beta2, c.eps, c.wd), std::make_tuple(0.9, 0.99, 1e-6, 0.0));
  EXPECT_EQ(std::make_tuple(c.optimizer, c.apply_gradient_clipping, c.grad_norm),
            std::make_tuple(OptimizerKind::adam, true, 1.0));
  EXPECT_EQ(std::make_tuple(c.eval_fraction, c.evals_per_epoch, c.save_total_limit), std::make_tuple(0.01, 10, 3));
  EXPECT_EQ(std::make_tuple(c.packing, c.truncation, c.timestamp_output_dir),
            std::make_tuple(true, Truncation::split, true));
  EXPECT_EQ(std::make_tuple(c.double_quant, c.lora_weight_dtype, c.lora_dropout),
            std::make_tuple(false, DataType::float32, 0.0));
  EXPECT_EQ(c.checkpoint_interval_hours, 1.0);
}

TEST(Preset, IsChosenByKeysThatNoOtherProgramHas) {
  for (const char* key : {"--full_fine_tune=false", "--use_control_adapters=false"}) {
    auto words = kPipeLite;
    words[0] = "--model_name";
    const auto parsed = parse(Command::train, plus(words, {key}));
    EXPECT_EQ(parsed.preset, "qlora-pipe-lite") << key;
    EXPECT_THAT(parsed.notes.front(),
                StartsWith("preset qlora-pipe-lite (because of " + std::string(key).substr(2, 8)));
  }
  // Axolotl, LLaMA-Factory and transformers have these, too, or they are Lorica's own.
  for (const char* key : {"--sequence_len=64", "--max_checkpoints=4", "--epochs=2", "--load_in_4bit",
                          "--drop_tails=false", "--eval_fraction=0.1", "--target_modules=q_proj"}) {
    EXPECT_EQ(train({key}).preset, "fsdp_qlora") << key;
  }
}

TEST(Preset, PipeLiteNeedsWhatItHasNoDefaultFor) {
  EXPECT_THAT(error_of(Command::train, {"--model_dir", "m"}),
              AllOf(HasSubstr("lr is missing: the preset qlora-pipe-lite has no default"),
                    HasSubstr("context_length is missing"), HasSubstr("dataset is missing"),
                    HasSubstr("output_dir is missing"), HasSubstr("lora_rank is missing")));
}

TEST(Preset, CanBeForced) {
  const auto parsed = parse(Command::train, {"--model_dir", "m", "--preset", "fsdp_qlora"});
  EXPECT_EQ(parsed.preset, "fsdp_qlora");
  EXPECT_EQ(parsed.config.lora_rank, 64);
  EXPECT_EQ(parsed.config.model_name, "m");
}

TEST(Preset, EvolvedHasItsDocumentsValues) {
  const auto parsed = train({"--preset", "qlora_evolved"});
  EXPECT_EQ(parsed.preset, "qlora-evolved");
  EXPECT_THAT(parsed.notes, Contains(HasSubstr("paged_adamw_32bit is not built yet; adamw is used")));
  const auto& c = parsed.config;
  EXPECT_EQ(std::make_tuple(c.lr, c.batch_size, c.gradient_accumulation_steps, c.num_epochs, c.context_length),
            std::make_tuple(2e-4, 4, 4, 3, 2048));
  EXPECT_EQ(std::make_tuple(c.lora_rank, c.lora_alpha, c.lora_dropout, c.wd), std::make_tuple(64, 16.0, 0.1, 0.01));
  EXPECT_EQ(std::make_tuple(c.lr_scheduler, c.apply_gradient_clipping, c.grad_norm),
            std::make_tuple(Scheduler::cosine, true, 0.3));
  EXPECT_EQ(c.warmup_ratio, 0.03);
  const auto warmed = train({"--preset", "qlora_evolved", "--lr_scheduler", "constant_with_warmup"}).config;
  EXPECT_EQ(std::make_tuple(warmed.lr_scheduler, warmed.warmup_ratio),
            std::make_tuple(Scheduler::constant_with_warmup, std::optional(0.03)));
  EXPECT_EQ(std::make_tuple(c.save_steps, c.save_total_limit, c.log_every_n_steps), std::make_tuple(200, 3, 10));
  EXPECT_THAT(c.log_to, ElementsAre("tensorboard"));
  EXPECT_EQ(c.output_dir, "./qlora_evolved_output");
}

TEST(Derived, TrainTypeFromPipeLitesSwitches) {
  EXPECT_EQ(parse(Command::train, plus(kPipeLite, {"--load_in_4bit"})).config.train_type, TrainType::qlora);
  EXPECT_EQ(parse(Command::train, plus(kPipeLite, {"--full_fine_tune"})).config.train_type, TrainType::full);
  EXPECT_EQ(train({"--load_in_4bit", "false"}).config.train_type, TrainType::lora);
  EXPECT_EQ(train({"--load_in_4bit", "--train_type", "qlora"}).config.train_type, TrainType::qlora);
  EXPECT_THAT(error_of(Command::train, plus(kPipeLite, {"--full_fine_tune", "--load_in_4bit"})),
              HasSubstr("contradict"));
  EXPECT_THAT(train_error({"--load_in_4bit", "--train_type", "lora"}), HasSubstr("contradict"));
  EXPECT_THAT(train_error({"--load_in_4bit", "false", "--train_type", "qlora"}), HasSubstr("contradict"));
  EXPECT_THAT(train_error({"--full_fine_tune", "--train_type", "lora", "--preset", "fsdp_qlora"}),
              HasSubstr("contradict"));
}

TEST(Derived, NoQuantTypeIsLora) {
  EXPECT_EQ(train({"--preset", "qlora-evolved", "--quant_type", "none"}).config.train_type, TrainType::lora);
  EXPECT_THAT(train_error({"--quant_type", "none", "--train_type", "qlora"}), HasSubstr("--quant_type none"));
  EXPECT_THAT(train_error({"--quant_type", "none", "--load_in_4bit"}), HasSubstr("two names of the same option"));
}

TEST(Derived, CustomTrainTypesAreTheSameFormula) {
  EXPECT_EQ(train({"--train_type", "custom_lora"}).config.train_type, TrainType::lora);
  EXPECT_EQ(train({"--train_type", "custom_qlora"}).config.train_type, TrainType::qlora);
}

// quant_type and n_bits name a weight format together: one is enough, and they must not contradict each other.
TEST(Preset, BitsAndFormatAreOneChoice) {
  for (const Words& words : {Words{"--quant_type", "int8"}, Words{"--n_bits", "8"}, Words{"--bits", "8"}}) {
    const auto config = train(words).config;
    EXPECT_EQ(std::make_tuple(config.quant_type, config.n_bits), std::make_tuple(QuantType::int8, 8)) << words[0];
    EXPECT_EQ(parse(Command::generate, {"--model_name", "m", "--prompt", "p", words[0], words[1]}).config.train_type,
              TrainType::qlora);
  }
  EXPECT_EQ(train({"--quant_type", "fp4"}).config.n_bits, 4);
  EXPECT_THAT(train_error({"--quant_type", "int8", "--n_bits", "4"}),
              AllOf(HasSubstr("--quant_type"), HasSubstr("--n_bits")));
  EXPECT_THAT(train({"--quant_type", "int8", "--double_quant", "false"}).account.lines(),
              ElementsAre(HasSubstr("double_quant")));
}

TEST(Derived, OnlyTrainQuantizesUnasked) {
  const auto forward = [](const Words& more) {
    return parse(Command::forward, plus(required(Command::forward), more)).config;
  };
  EXPECT_EQ(forward({}).train_type, TrainType::lora);
  EXPECT_EQ(forward({}).n_bits, 16);
  for (const Words& words : {Words{"--load_in_4bit"}, Words{"--n_bits", "4"}, Words{"--train_type", "qlora"}}) {
    EXPECT_EQ(forward(words).train_type, TrainType::qlora) << words.front();
    EXPECT_EQ(forward(words).n_bits, 4) << words.front();
  }
}

TEST(Derived, PrecisionAndLossFromHuggingFaceSwitches) {
  EXPECT_EQ(train({"--bf16", "--preset", "fsdp_qlora"}).config.precision, Precision::bf16);
  EXPECT_THAT(train_error({"--bf16", "--precision", "fp32"}), HasSubstr("contradict"));
  EXPECT_EQ(train({"--bf16", "false", "--precision", "fp32"}).config.precision, Precision::fp32);
  EXPECT_EQ(train({"--train_on_inputs"}).config.train_on, TrainOn::all);
  EXPECT_EQ(train({"--completion_only_loss", "false"}).config.train_on, TrainOn::all);
  EXPECT_EQ(train({"--train_on_inputs", "false"}).config.train_on, TrainOn::completion);
  EXPECT_THAT(train_error({"--train_on_inputs", "--completion_only_loss"}), HasSubstr("contradict"));
}

TEST(Derived, MaxGradNormSwitchesClipping) {
  EXPECT_TRUE(train({"--max_grad_norm", "1"}).config.apply_gradient_clipping);
  EXPECT_FALSE(train({"--max_grad_norm", "0", "--preset", "qlora-evolved"}).config.apply_gradient_clipping);
  const auto bare = train({"--grad_norm", "1"});
  EXPECT_FALSE(bare.config.apply_gradient_clipping);
  EXPECT_THAT(bare.account.lines(),
              ElementsAre("left aside: option grad_norm: no effect without apply_gradient_clipping"));
}

TEST(Derived, WarmUpIsATenthUnlessConstant) {
  EXPECT_FALSE(train({}).config.warmup_ratio.has_value());
  EXPECT_EQ(train({"--lr_scheduler", "linear"}).config.warmup_ratio, 0.1);
  EXPECT_EQ(train({"--lr_scheduler", "constant_with_warmup"}).config.warmup_ratio, 0.1);
  EXPECT_FALSE(train({"--lr_scheduler", "linear", "--warmup_steps", "0"}).config.warmup_ratio.has_value());
  EXPECT_EQ(train({"--warmup_ratio", "0.2"}).config.warmup_ratio, 0.2);
  EXPECT_FALSE(train({"--preset", "qlora-evolved", "--lr_scheduler", "constant"}).config.warmup_ratio.has_value());
  EXPECT_FALSE(train({"--preset", "qlora-evolved", "--warmup_epochs", "1"}).config.warmup_ratio.has_value());
}

TEST(Derived, AnotherOptimizerTakesPyTorchsDefaults) {
  const auto adam = train({"--optimizer", "adam"}).config;
  EXPECT_EQ(std::make_tuple(adam.beta1, adam.beta2, adam.eps, adam.wd), std::make_tuple(0.9, 0.999, 1e-8, 0.0));
  const auto adadelta = train({"--optimizer", "adadelta", "--wd", "0.5"}).config;
  EXPECT_EQ(std::make_tuple(adadelta.beta1, adadelta.eps, adadelta.wd), std::make_tuple(0.9, 1e-6, 0.5));
  const auto evolved = train({"--preset", "qlora-evolved", "--optim", "adamw_torch"}).config;
  EXPECT_EQ(std::make_tuple(evolved.optimizer, evolved.beta2, evolved.wd),
            std::make_tuple(OptimizerKind::adamw, 0.999, 0.01));
}

TEST(Derived, WhatIsGivenReplacesThePresetsEvaluation) {
  const auto file = parse(Command::train, plus(kPipeLite, {"--eval_dataset", "e"})).config;
  EXPECT_EQ(file.eval_fraction, 0.0);
  EXPECT_EQ(parse(Command::train, plus(kPipeLite, {"--eval_steps", "5"})).config.evals_per_epoch, 0);
}

TEST(Derived, ColumnsByPeersNames) {
  EXPECT_EQ(train({"--dataset_text_field", "body"}).config.column_mapping, std::vector<std::string>{"text=body"});
  EXPECT_EQ(train({"--prompt_column", "q", "--response_column", "a"}).config.column_mapping,
            (std::vector<std::string>{"prompt=q", "completion=a"}));
  EXPECT_EQ(train({"--dataset_text_field", "text"}).config.column_mapping, std::vector<std::string>{}) << "the default";
}

TEST(Derived, RecomputeFollowsItsSwitch) {
  EXPECT_EQ(recompute_policy(train({}).config), Recompute::recompute);
  EXPECT_EQ(recompute_policy(train({"--gradient_checkpointing", "false"}).config), Recompute::keep);
  EXPECT_EQ(recompute_policy(train({"--recompute", "selective"}).config), Recompute::selective);
  EXPECT_THAT(train_error({"--gradient_checkpointing", "false", "--recompute", "selective"}), HasSubstr("contradict"));
}

TEST(Derived, NonPositiveMaxStepsMeansNone) {
  EXPECT_EQ(train({"--max_steps", "0"}).config.max_steps, -1);
}

TEST(Peers, OptionsAreTranslated) {
  EXPECT_EQ(train({"--val_set_size", "0.05"}).config.eval_fraction, 0.05);
  EXPECT_THAT(train_error({"--val_set_size", "200"}), HasSubstr("--val_set_size 200: 200 is a count of rows"));
  EXPECT_EQ(train({"--eval_strategy", "epoch", "--eval_fraction", "0.1"}).config.evals_per_epoch, 1);
  EXPECT_EQ(train({"--evaluation_strategy", "steps", "--eval_steps", "7", "--eval_fraction", "0.1"}).config.eval_steps,
            7);
  EXPECT_THAT(train_error({"--eval_strategy", "steps"}), HasSubstr("give eval_steps, too"));
  EXPECT_THAT(train_error({"--eval_strategy", "no", "--eval_dataset", "e"}), HasSubstr("it contradicts eval_dataset"));
  EXPECT_EQ(train({"--eval_strategy", "no"}).config.eval_fraction, 0);
  EXPECT_EQ(train({"--save_strategy", "steps", "--save_steps", "9"}).config.save_steps, 9);
  EXPECT_EQ(train({"--save_strategy", "no", "--preset", "qlora-evolved"}).config.save_steps, 0);
  EXPECT_THAT(train_error({"--save_strategy", "epoch"}), HasSubstr("give save_steps"));
  EXPECT_THAT(train_error({"--logging_strategy", "epoch"}), HasSubstr("give log_every_n_steps"));
  EXPECT_THAT(train({"--lora_target_linear", "true", "--preset", "fsdp_qlora"}).config.lora_target_modules,
              ElementsAre("all-linear"));
  EXPECT_EQ(train({"--finetuning_type", "lora"}).config.train_type, TrainType::lora);
  EXPECT_EQ(train({"--fine_tune_type", "full"}).config.train_type, TrainType::full);
  EXPECT_EQ(train({"--finetuning_type", "lora", "--quantization_bit", "4"}).config.train_type, TrainType::qlora);
  EXPECT_THAT(train_error({"--quantization_bit", "8"}), HasSubstr("'8' is not built yet"));
  EXPECT_EQ(train({"--iters", "12", "--gradient_accumulation_steps", "4"}).config.max_steps, 3);
  EXPECT_THAT(train_error({"--iters", "13", "--gradient_accumulation_steps", "4"}), HasSubstr("give max_steps"));
  EXPECT_EQ(train({"--use_cpu"}).config.backend, Backend::cpu);
  EXPECT_THAT(train({"--disable_tqdm"}).config.log_to, ElementsAre("tensorboard"));
  EXPECT_EQ(train({"--adapter", "qlora"}).config.train_type, TrainType::qlora);
  EXPECT_EQ(train({"--adapter", "lora"}).config.adapter, "");
}

TEST(Peers, OptionsThatAreNotQuiteOursSayWhatToUse) {
  EXPECT_THAT(train_error({"--num_nodes", "2"}), AllOf(HasSubstr("--num_nodes: 2 is refused"), HasSubstr("torchrun")));
  EXPECT_EQ(train_error({"--num_nodes", "1", "--num_gpus", "1"}), "");
  EXPECT_THAT(train_error({"--num_layers", "16"}), HasSubstr("layers_to_transform"));
  EXPECT_THAT(train_error({"--max_samples", "1000"}), HasSubstr("max_steps"));
  EXPECT_THAT(train({"--group_by_length"}).notes,
              Contains(HasSubstr("--group_by_length true: there is no padding anywhere")));
  EXPECT_THAT(train_error({"--wandb_project", "p"}), HasSubstr("--wandb_project: p is not built yet"));
}

TEST(Peers, TranslationsCountAsSettings) {
  EXPECT_THAT(train_error({"--val_set_size", "0.1", "--eval_fraction", "0.2"}),
              HasSubstr("two names of the same option"));
  EXPECT_THAT(train({"--finetuning_type", "full"}).given, Contains("train_type"));
}

}  // namespace
}  // namespace lorica::config::test
