// Contradictions and refusals; the command lines and files of the originals run as they
// are.
#include "config/documentation.hpp"
#include "config/helpers.hpp"

#include "base/files.hpp"
#include "base/strings.hpp"

namespace lorica::config::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Checks : public WithFolder {};

TEST_F(Checks, ContradictionsNameBothSides) {
  EXPECT_EQ(train_error({"--n_bits", "16"}),
            "--n_bits 16 and train_type qlora: qlora quantizes to 4 bits; say train_type lora for 16");
  EXPECT_THAT(train_error({"--resume", "--overwrite_output_dir"}), StartsWith("--resume and --overwrite_output_dir: "));
  EXPECT_THAT(train_error({"--eval_dataset", "a", "--eval_fraction", "0.1"}),
              StartsWith("--eval_dataset and --eval_fraction"));
  EXPECT_THAT(train_error({"--eval_steps", "5", "--evals_per_epoch", "2"}),
              StartsWith("--eval_steps and --evals_per_epoch"));
  EXPECT_THAT(train_error({"--warmup_steps", "5", "--warmup_epochs", "2"}), HasSubstr("two kinds of warm-up"));
  EXPECT_THAT(train_error({"--log_to", "none,stdout"}), HasSubstr("--log_to: none excludes the others"));
  EXPECT_THAT(train_error({"--lr_scheduler", "polynomial", "--lr", "1e-9"}), HasSubstr("must be below lr"));
  EXPECT_THAT(train_error({"--train_type", "full", "--adapter", "a"}),
              HasSubstr("--adapter: train_type full has no adapter"));
  EXPECT_THAT(train_error({"--target_modules", "all,q_proj"}), HasSubstr("all can't be combined with names"));
  EXPECT_THAT(train_error({"--target_modules", ""}), HasSubstr("the list is empty"));
  EXPECT_THAT(train_error({"--stop_on_nan", "false"}), HasSubstr("--stop_on_nan: always true"));
}

TEST_F(Checks, TrainingAPartOfTheWeightsIsRefused) {
  for (const char* name : {"lora_target_modules", "layers_to_transform", "modules_to_save"}) {
    const std::string value = name == std::string("layers_to_transform") ? "0:1" : "q_proj";
    EXPECT_THAT(train_error({"--train_type", "full", std::string("--") + name, value}),
                AllOf(HasSubstr(name), HasSubstr("is not built yet")));
  }
}

TEST_F(Checks, AProfilersCycleNeedsRoom) {
  EXPECT_EQ(train_error({"--profile"}), "");
  EXPECT_EQ(train_error({"--profile", "--profiling_frequency", "3"}), "");
  EXPECT_EQ(train_error({"--profile", "--profiling_frequency", "2"}),
            "--profiling_frequency 2: a cycle has no room for profiler_warmup_steps 1 and active_steps 2: make it 3 or "
            "more, or lower one of them");
  EXPECT_EQ(train_error({"--profiling_frequency", "2"}), "") << "nothing is profiled";
  EXPECT_EQ(train_error({"--profile", "--profiling_frequency", "2", "--repeat", "1"}), "") << "wait_steps counts";
  EXPECT_THAT(train_error({"--profile", "--profile_memory", "--repeat", "1", "--profiler_warmup_steps", "0"}),
              HasSubstr("both would record the first step"));
  EXPECT_EQ(train_error({"--profile", "--profile_memory", "--repeat", "1"}), "") << "it warms up in the first step";
  EXPECT_THAT(train_error({"--profile", "--profiling_output", ""}), HasSubstr("--profiling_output: give a folder"));
  EXPECT_THAT(train_error({"--profile_memory", "--profiling_output", ""}), HasSubstr("give a folder"));
}

TEST_F(Checks, ClippingToNothingIsRefused) {
  EXPECT_THAT(train_error({"--apply_gradient_clipping", "--grad_norm", "0"}), HasSubstr("would leave nothing"));
  EXPECT_EQ(train_error({"--max_grad_norm", "0"}), "") << "there it means no clipping";
}

TEST_F(Checks, CodeOfAModelsRepositoryIsNeverRun) {
  EXPECT_THAT(train_error({"--trust-remote-code"}), HasSubstr("code from a model's repository is never run"));
  EXPECT_EQ(train_error({"--trust_remote_code", "false"}), "");
}

TEST_F(Checks, OffloadingDependsOnTheDevice) {
  EXPECT_THAT(train({"--use_cpu_offload", "true", "--backend", "cpu"}).notes,
              Contains(HasSubstr("parameters are in host memory anyway")));
  EXPECT_THAT(train_error({"--use_cpu_offload", "true", "--backend", "cuda"}), HasSubstr("not built yet"));
}

TEST_F(Checks, FsdpQlorasCommandLinesRun) {
  // The command lines of its README that need one process and what is built.
  const auto first = train({"--batch_size", "2", "--context_length", "512", "--precision", "bf16", "--train_type",
                            "qlora", "--use_gradient_checkpointing", "true", "--use_cpu_offload", "true", "--dataset",
                            "alpaca", "--reentrant_checkpointing", "true"});
  EXPECT_EQ(first.config.batch_size, 2);
  EXPECT_THAT(first.notes, AllOf(Contains(StartsWith("--reentrant_checkpointing true: ")),
                                 Contains(StartsWith("--use_cpu_offload true: "))));
  const auto full = train({"--backend",
                           "cuda",
                           "--dataset",
                           "custom_data.json",
                           "--train_type",
                           "qlora",
                           "--batch_size",
                           "4",
                           "--gradient_accumulation_steps",
                           "4",
                           "--num_epochs",
                           "3",
                           "--learning_rate",
                           "2e-4",
                           "--lr_scheduler",
                           "cosine",
                           "--warmup_ratio",
                           "0.1",
                           "--context_length",
                           "2048",
                           "--lora_rank",
                           "32",
                           "--lora_alpha",
                           "64",
                           "--lora_dropout",
                           "0.1",
                           "--lora_target_modules",
                           "all",
                           "--quantization_backend",
                           "bnb",
                           "--n_bits",
                           "4",
                           "--double_quant",
                           "true",
                           "--precision",
                           "bf16",
                           "--use_gradient_checkpointing",
                           "true",
                           "--use_flash_attention",
                           "true",
                           "--save_model",
                           "true",
                           "--output_dir",
                           "./outputs",
                           "--logging_steps",
                           "10",
                           "--eval_steps",
                           "100",
                           "--save_steps",
                           "500",
                           "--max_steps",
                           "-1",
                           "--world_size",
                           "-1",
                           "--low_memory",
                           "false"});
  EXPECT_EQ(full.config.lr, 2e-4);
  EXPECT_EQ(full.config.log_every_n_steps, 10);
  EXPECT_EQ(train({"--world_size", "2"}).config.world_size, 2);
}

TEST_F(Checks, PipeLitesQuickStartReads) {
  const std::string quick_start = R"(
model_dir = "model"
output_dir = "./training_output"
lora_rank = 16
lora_dropout = 0.1
lora_weight_dtype = "float32"
lr = 2e-5
epochs = 1
sequence_len = 4096
gradient_accumulation_steps = 8
pipeline_stages = 1
partition_method = "uniform"
load_in_4bit = true
beta1 = 0.9
eval_gradient_accumulation_steps = 1
checkpoint_interval_hours = 1
max_checkpoints = 3
use_column_major_topology = true
drop_tails = false
mix_datasets = false
)";
  const std::string table = "[[datasets]]\ndataset_path = \"data/training_data.jsonl\"\n";
  const auto parsed = toml(quick_start + table, {"--local_rank=0", "--deepspeed"});
  EXPECT_EQ(parsed.preset, "qlora-pipe-lite");
  EXPECT_EQ(parsed.config.train_type, TrainType::qlora);
  EXPECT_EQ(parsed.config.context_length, 4096);
  EXPECT_THAT(parsed.config.dataset, testing::ElementsAre("data/training_data.jsonl"));
  EXPECT_THAT(toml_error(quick_start + "lora_weight_decay = 10.0\n" + table),
              HasSubstr("lora_weight_decay: 10 is not built yet"));
}

TEST_F(Checks, EvolvedsCallReads) {
  const auto parsed = train({"--preset", "qlora-evolved", "--max_length", "1024", "--use_double_quant", "True",
                             "--compute_dtype", "bfloat16", "--device_map", "auto", "--weight_decay", "0.01", "--optim",
                             "adamw_torch", "--report_to", "tensorboard", "--use_flash_attention_2", "True"});
  EXPECT_EQ(parsed.config.context_length, 1024);
  EXPECT_THAT(train_error({"--optim", "paged_adamw_32bit", "--quant_type", "nf4_optimized"}),
              AllOf(HasSubstr("'paged_adamw_32bit' is not built yet"), HasSubstr("'nf4_optimized' is not built yet")));
}

std::filesystem::path repository() {
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path().parent_path();
}

TEST(Documentation, OptionsPageIsCurrent) {
  EXPECT_EQ(read_file(repository() / "docs" / "OPTIONS.md"), options_markdown())
      << "run: build/lorica options --markdown > docs/OPTIONS.md";
}

TEST(Documentation, ExamplesAreValid) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(repository() / "examples")) {
    if (entry.path().extension() != ".toml") continue;
    ++seen;
    EXPECT_NO_THROW(parse_toml_file(entry.path())) << entry.path();
  }
  EXPECT_GE(seen, 5);
}

constexpr Command kWithModel[] = {Command::train, Command::merge, Command::generate, Command::forward,
                                  Command::tokenize};

TEST(Documentation, FullHelpNamesEveryOptionOfACommandOnce) {
  for (const auto command : kWithModel) {
    const auto help = command_help(command, true);
    for (const auto& row : option_table()) {
      const auto line = "\n  --" + row.name + " ";
      const auto at = help.find(line);
      EXPECT_EQ(at != std::string::npos, row.belongs_to(command)) << command_name(command) << " " << row.name;
      if (at != std::string::npos) {
        EXPECT_EQ(help.find(line, at + 1), std::string::npos) << row.name;
      }
    }
  }
}

TEST(Documentation, HelpBeginsWithWhatIsMostUsedAndEndsWithWhatIsNotBuilt) {
  for (const auto command : kWithModel) {
    const auto help = command_help(command);
    EXPECT_LT(help.find("Most used"), help.find("--model_name "));
    for (const auto& line : split(help, '\n')) {
      if (!line.starts_with("  --") || line.find("(also") == std::string::npos) {
        EXPECT_LE(line.size(), 102U) << line;
      }
    }
    const auto last = help.find("\nNot built yet\n");
    for (const auto& row : option_table()) {
      if (!row.belongs_to(command)) continue;
      const auto listed = row.status == Status::built ? "\n  --" + row.name + " " : row.name;
      EXPECT_NE(help.find(listed), std::string::npos) << command_name(command) << " " << row.name;
      if (row.status == Status::not_built) {
        EXPECT_NE(help.find(row.name, last), std::string::npos) << row.name;
        EXPECT_EQ(help.find("\n  --" + row.name + " "), std::string::npos) << row.name;
      }
    }
  }
  EXPECT_LT(split(command_help(Command::train), '\n').size(),
            330U);  // the full help has three times as many
}

TEST(Documentation, ExplainsOneOptionByAnyName) {
  EXPECT_THAT(explain_option("--learning-rate"),
              AllOf(HasSubstr("--lr float"), HasSubstr("default: 1e-05"), HasSubstr("qlora-evolved: 0.0002"),
                    HasSubstr("In a TOML file: lr = 1e-05")));
  EXPECT_THAT(explain_option("top_p"), AllOf(HasSubstr("generate"), HasSubstr("Acts with: temperature above 0")));
  EXPECT_THAT(
      explain_option("leraning_rate"),
      AllOf(StartsWith("There is no option leraning_rate; the nearest is learning_rate:"), HasSubstr("--lr float")));
  EXPECT_THROW(explain_option("qqqqqqqqqqqq"), ConfigError);
  // One name may be two options': the command's own comes first.
  EXPECT_THAT(explain_option("max_tokens", Command::generate), HasSubstr("--max_new_tokens"));
  EXPECT_THAT(explain_option("max_tokens", Command::train), HasSubstr("--max_tokens"));
  for (const auto& row : option_table()) EXPECT_NO_THROW(explain_option(row.name)) << row.name;
}

}  // namespace
}  // namespace lorica::config::test
