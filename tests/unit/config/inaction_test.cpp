// Options that can't act in a run are left aside with the reason, or refused; every row of the table says when it acts
// or stands in the list of those that always do. That values reach their use is shown by
// tests/e2e/test_every_option.py.
#include <map>
#include <set>

#include "base/strings.hpp"
#include "config/helpers.hpp"
#include "config/option.hpp"
#include "config/value.hpp"

namespace lorica::config::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct Case {
  std::string value;   ///< of the option
  Words idle;          ///< the rest of a command line in which it can't act
  Words busy;          ///< one in which it can
  std::string reason;  ///< of the idle one
  Command command = Command::train;
};

/// One for each option that has conditions.
const std::map<std::string, Case>& cases() {
  const Words file = {"--dataset", "f.jsonl"}, lora = {"--train_type", "lora"}, full = {"--train_type", "full"};
  const Words one = {"--world_size", "1"}, two = {"--world_size", "2"}, generate_base = {"--prompt", "p"};
  const Words lines = {"--input", "lines.txt"};
  const std::string nothing_quantized = "no effect with train_type lora: nothing is quantized";
  const std::string no_adapters = "no effect with train_type full: there are no adapters";
  const std::string no_part = "no effect with train_type full: training a part of the weights is not built yet";
  const std::string no_evaluation = "no effect without eval_dataset or eval_fraction";
  const std::string one_process = "no effect with one process", one_stage = "no effect with one pipeline stage";
  const std::string constant = "no effect with lr_scheduler constant", no_profile = "no effect without profile";
  const std::string lines_as_they_are = "no effect with --input: its lines are tokenized as they are";
  const std::string greedy = "no effect with temperature 0: the likeliest token is always taken";
  const Words sampled = {"--prompt", "p", "--temperature", "1"}, evaluated = {"--eval_fraction", "0.1"};
  static const std::map<std::string, Case> all = {
      {"output_dir",
       {"out",
        {"--resume", "elsewhere/checkpoint-3"},
        {"--resume", "out/checkpoint-3"},
        "no effect with resume elsewhere/checkpoint-3: the run goes on in the folder of that checkpoint"}},
      {"timestamp_output_dir",
       {"true", {"--resume", "true"}, {}, "no effect with resume: the run goes on in its folder"}},
      {"seed", {"7", generate_base, sampled, greedy, Command::generate}},
      {"precision",
       {"bf16",
        {"--adapter", "a", "--output", "o"},
        {"--adapter", "a", "--output", "o", "--train_type", "qlora"},
        "no effect with train_type lora: merging computes in float32",
        Command::merge}},
      {"n_bits", {"4", lora, {"--train_type", "qlora"}, nothing_quantized}},
      {"quant_type", {"fp4", lora, {}, nothing_quantized}},
      {"quant_blocksize", {"128", lora, {}, nothing_quantized}},
      {"double_quant", {"false", lora, {}, nothing_quantized}},
      {"lora_rank", {"8", full, lora, no_adapters}},
      {"lora_alpha", {"8", full, lora, no_adapters}},
      {"lora_dropout", {"0.5", full, lora, no_adapters}},
      {"use_rslora", {"true", full, lora, no_adapters}},
      {"lora_weight_dtype", {"bfloat16", full, lora, no_adapters}},
      {"lora_target_modules", {"q_proj", full, lora, no_part}},
      {"layers_to_transform", {"1", full, lora, no_part}},
      {"modules_to_save", {"lm_head", full, lora, no_part}},
      {"dataset_path", {"rows", file, {"--dataset", "alpaca"}, "no effect with dataset f.jsonl: it is for alpaca,"}},
      {"dataset_samples", {"9", file, {}, "no effect with dataset f.jsonl: it is for alpaca_sample, dummy, orca_math"}},
      {"dataset_format", {"text", lines, file, lines_as_they_are, Command::tokenize}},
      {"column_mapping", {"text=body", lines, file, lines_as_they_are, Command::tokenize}},
      {"ignore_columns", {"label", lines, file, lines_as_they_are, Command::tokenize}},
      {"train_on", {"all", lines, file, lines_as_they_are, Command::tokenize}},
      {"context_length", {"64", lines, file, lines_as_they_are, Command::tokenize}},
      {"truncation", {"drop", lines, file, lines_as_they_are, Command::tokenize}},
      {"packing", {"true", lines, file, lines_as_they_are, Command::tokenize}},
      {"skip_bad_rows", {"true", lines, file, lines_as_they_are, Command::tokenize}},
      {"shuffle", {"false", lines, file, lines_as_they_are, Command::tokenize}},
      {"tokenizer_cache", {"c", lines, file, lines_as_they_are, Command::tokenize}},
      {"batch_size", {"4", lines, file, lines_as_they_are, Command::tokenize}},
      {"reshuffle", {"false", {"--shuffle", "false"}, {}, "no effect with shuffle false"}},
      {"eval_steps", {"5", {}, evaluated, no_evaluation}},
      {"evals_per_epoch", {"5", {}, evaluated, no_evaluation}},
      {"eval_samples", {"5", {}, evaluated, no_evaluation}},
      {"eval_gradient_accumulation_steps",
       {"2", evaluated, {"--eval_fraction", "0.1", "--pipeline_stages", "2"}, one_stage}},
      {"num_epochs", {"3", {"--max_steps", "5"}, {}, "no effect with max_steps 5"}},
      {"beta1", {"0.5", {"--optimizer", "sgd"}, {"--optimizer", "adadelta"}, "no effect with optimizer sgd"}},
      {"beta2", {"0.5", {"--optimizer", "adadelta"}, {}, "no effect with optimizer adadelta"}},
      {"eps", {"1e-7", {"--optimizer", "sgd"}, {}, "no effect with optimizer sgd"}},
      {"momentum", {"0.9", {"--optimizer", "adam"}, {"--optimizer", "sgd"}, "no effect with optimizer adam"}},
      {"grad_norm", {"1", {}, {"--apply_gradient_clipping"}, "no effect without apply_gradient_clipping"}},
      {"cosine_min_lr_ratio", {"0.2", {}, {"--lr_scheduler", "cosine"}, constant}},
      {"cosine_cycles", {"5", {}, {"--lr_scheduler", "cosine_with_restarts"}, constant}},
      {"polynomial_power", {"2", {}, {"--lr_scheduler", "polynomial"}, constant}},
      {"polynomial_end_lr", {"1e-8", {}, {"--lr_scheduler", "polynomial"}, constant}},
      {"exponential_gamma", {"0.5", {}, {"--lr_scheduler", "exponential"}, constant}},
      {"use_gradient_checkpointing",
       {"true", {"--recompute", "keep"}, {}, "no effect with recompute keep, which is the finer word"}},
      {"save_steps", {"5", {"--save_model", "false"}, {}, "no effect with save_model false"}},
      {"checkpoint_interval_hours", {"1", {"--save_model", "false"}, {}, "no effect with save_model false"}},
      {"save_total_limit", {"2", {"--save_model", "false"}, {}, "no effect with save_model false"}},
      {"master_addr", {"host", one, two, one_process}},
      {"master_port", {"4000", one, two, one_process}},
      {"peer_timeout", {"9", one, two, one_process}},
      {"sharding_strategy", {"ddp", one, two, one_process}},
      {"hybrid_shard_size",
       {"2", {}, {"--sharding_strategy", "hybrid_full_shard"}, "no effect with sharding_strategy full_shard"}},
      {"no_sync", {"true", {}, {"--gradient_accumulation_steps", "2"}, "no effect with gradient_accumulation_steps 1"}},
      {"reduce_dtype", {"bfloat16", one, two, one_process}},
      {"prefetch_blocks", {"3", {"--sharding_strategy", "ddp"}, {}, "no effect with sharding_strategy ddp"}},
      {"low_memory", {"false", one, two, one_process}},
      {"partition_method", {"parameters", {}, {"--pipeline_stages", "2"}, one_stage}},
      {"pipeline_interleave", {"2", {}, {"--pipeline_stages", "2"}, one_stage}},
      {"use_column_major_topology", {"true", {}, {"--pipeline_stages", "2"}, one_stage}},
      {"profiling_output", {"p", {}, {"--profile_memory"}, "no effect without profile or profile_memory"}},
      {"overwrite_profiling_output", {"false", {}, {"--profile"}, "no effect without profile or profile_memory"}},
      {"with_stack", {"true", {}, {"--profile"}, no_profile}},
      {"with_shapes", {"true", {}, {"--profile"}, no_profile}},
      {"export_trace", {"false", {}, {"--profile"}, no_profile}},
      {"export_memory_timeline", {"true", {}, {"--profile"}, no_profile}},
      {"profiler_warmup_steps", {"2", {}, {"--profile"}, no_profile}},
      {"active_steps", {"3", {}, {"--profile"}, no_profile}},
      {"repeat", {"2", {}, {"--profile"}, no_profile}},
      {"wait_steps", {"2", {"--profile"}, {"--profile", "--repeat", "1"}, "no effect without repeat"}},
      {"profiling_frequency", {"12", {"--profile", "--repeat", "1"}, {"--profile"}, "no effect with repeat"}},
      {"top_k", {"5", generate_base, sampled, greedy, Command::generate}},
      {"top_p", {"0.5", generate_base, sampled, greedy, Command::generate}},
      {"bandwidth", {"1GB", one, two, one_process, Command::plan}},
  };
  return all;
}

/// Options that act in every run of their commands: what decides where a run reads and writes, how much it does, and
/// what is chosen by their own value alone.
const std::set<std::string> kAlwaysActs = {"preset",
                                           "overwrite_output_dir",
                                           "resume",
                                           "backend",
                                           "device",
                                           "device_memory_limit",
                                           "threads",
                                           "kernels",
                                           "check_memory",
                                           "stop_on_nan",
                                           "verbose",
                                           "model_name",
                                           "adapter",
                                           "train_type",
                                           "load_format",
                                           "compute_dtype",
                                           "dataset",
                                           "document_attention",
                                           "preview",
                                           "eval_dataset",
                                           "eval_fraction",
                                           "gradient_accumulation_steps",
                                           "max_steps",
                                           "lr",
                                           "optimizer",
                                           "wd",
                                           "apply_gradient_clipping",
                                           "lr_scheduler",
                                           "warmup_steps",
                                           "warmup_ratio",
                                           "warmup_epochs",
                                           "recompute",
                                           "logits_chunk_mb",
                                           "use_cpu_offload",
                                           "use_activation_cpu_offload",
                                           "save_model",
                                           "log_to",
                                           "log_every_n_steps",
                                           "world_size",
                                           "rank_logs",
                                           "pipeline_stages",
                                           "profile",
                                           "profile_memory",
                                           "input",
                                           "output",
                                           "run",
                                           "dtype",
                                           "scale",
                                           "shard_size",
                                           "markdown",
                                           "prompt",
                                           "prompts_file",
                                           "prompt_template",
                                           "max_new_tokens",
                                           "temperature",
                                           "stop",
                                           "tokens",
                                           "device_memory",
                                           "host_memory",
                                           "tflops",
                                           "json"};

Words with(const std::string& name, const Case& its, const Words& rest) {
  Words leave_out = {name};
  for (const auto& word : rest) {
    if (word.starts_with("--")) leave_out.push_back(word.substr(2));
  }
  if (std::find(rest.begin(), rest.end(), "--dataset") != rest.end()) leave_out.push_back("input");
  auto words = required(its.command, leave_out);
  words.insert(words.end(), {"--" + name, its.value});
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

/// What is said of the option: a line of the account, or the refusal.
std::string said(const std::string& name, const Case& its, const Words& rest) {
  try {
    const auto parsed = parse(its.command, with(name, its, rest));
    for (const auto& entry : parsed.account.entries()) {
      EXPECT_EQ(entry.kind, Account::Kind::option);
      if (entry.part == name) return entry.reason;
    }
    return "";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

TEST(Inaction, EveryOptionSaysWhenItActsOrAlwaysDoes) {
  for (const auto& row : option_table()) {
    if (!row.field.stored()) continue;
    EXPECT_EQ(row.acts_when.empty(), kAlwaysActs.contains(row.name))
        << row.name << ": give it acts_when, and a case above; or show a run in which it acts by its own value alone";
    EXPECT_EQ(row.acts_when.empty(), !cases().contains(row.name)) << row.name << " needs a case here";
    for (const auto& condition : row.acts_when) EXPECT_FALSE(condition.needs.empty()) << row.name;
  }
}

TEST(Inaction, IsSaidWithItsReason) {
  for (const auto& [name, its] : cases()) EXPECT_THAT(said(name, its, its.idle), HasSubstr(its.reason)) << name;
}

TEST(Inaction, IsNotSaidOfWhatActs) {
  for (const auto& [name, its] : cases()) EXPECT_EQ(said(name, its, its.busy), "") << name;
}

TEST(Inaction, CountsEveryConditionOfAnOption) {
  const auto reason = [](const std::string& name, const std::string& value, const Words& rest) {
    return said(name, Case{value, {}, {}, "", Command::train}, rest);
  };
  EXPECT_THAT(reason("eval_gradient_accumulation_steps", "2", {"--pipeline_stages", "2"}),
              HasSubstr("without eval_dataset"));
  EXPECT_THAT(reason("no_sync", "true", {"--world_size", "1", "--gradient_accumulation_steps", "2"}),
              HasSubstr("with one process"));
  EXPECT_THAT(reason("hybrid_shard_size", "1", {"--world_size", "1", "--sharding_strategy", "hybrid_full_shard"}),
              HasSubstr("with one process"));
  EXPECT_THAT(reason("wait_steps", "2", {"--repeat", "1"}), HasSubstr("without profile"));
  EXPECT_THAT(reason("profiling_frequency", "20", {}), HasSubstr("without profile"));
}

TEST(Inaction, OfTheCommandLineIsSaidEvenOfAPresetsOwnValue) {
  EXPECT_THAT(train({"--cosine_cycles", "3"}).account.lines(),
              ::testing::ElementsAre("left aside: option cosine_cycles: no effect with lr_scheduler constant"));
}

TEST(Inaction, UsesTheNameThatWasWritten) {
  EXPECT_THAT(
      train({"--num_cycles", "3", "--min_lr_ratio=0.2"}).account.lines(),
      ::testing::ElementsAre("left aside: options min_lr_ratio, num_cycles: no effect with lr_scheduler constant"));
}

using InactionInFile = WithFolder;

/// config.toml of a run names every option: going on from it must not be met with a page of reproaches.
TEST_F(InactionInFile, IsSaidOfWhatIsNotThePresetsOnly) {
  EXPECT_THAT(toml(to_toml(train({}).config)).account.entries(), IsEmpty());
  const auto parsed = toml("model_name = \"m\"\ncosine_cycles = 3\nexponential_gamma = 0.5\n");
  ASSERT_EQ(parsed.account.entries().size(), 1U);
  EXPECT_EQ(parsed.account.entries()[0].part, "exponential_gamma");
  EXPECT_THAT(toml_error("model_name = \"m\"\ntrain_type = \"full\"\nlayers_to_transform = \"1:2\"\n"),
              AllOf(HasSubstr("run.toml:3: layers_to_transform: no effect with train_type full"),
                    Not(HasSubstr("train_type:"))));
}

/// How many processes take part may be known only after parsing: a launcher says it.
TEST(Inaction, IsSettledWithTheNumberOfProcesses) {
  auto parsed = train({"--no_sync", "--gradient_accumulation_steps", "2"});
  EXPECT_TRUE(parsed.account.empty());
  EXPECT_THAT(account_for_options(Command::train, 1, parsed), IsEmpty());
  EXPECT_THAT(parsed.account.lines(), ::testing::ElementsAre("left aside: option no_sync: no effect with one process"));
  account_for_options(Command::train, 2, parsed);
  EXPECT_TRUE(parsed.account.empty());
}

TEST(Inaction, OfOtherCommandsIsSettledByThem) {
  const auto parsed = parse(Command::generate, {"--model_name", "m", "--prompt", "p", "--low_memory", "false"});
  EXPECT_THAT(parsed.account.lines(),
              ::testing::ElementsAre("left aside: option low_memory: no effect with one process"));
}

}  // namespace
}  // namespace lorica::config::test
