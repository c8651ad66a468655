// TOML files: precedence, [[datasets]] tables, errors with lines, and that a resolved configuration reads back equal.
#include "config/helpers.hpp"
#include "config/option.hpp"
#include "config/value.hpp"

namespace lorica::config::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

class TomlFile : public WithFolder {};

TEST_F(TomlFile, CommandLineCountsOverFileOverPreset) {
  const auto parsed = toml("model_name = \"m\"\nlearning_rate = 0.25\nbatch_size = 7\n", {"--lr", "0.5"});
  EXPECT_EQ(parsed.config.lr, 0.5);
  EXPECT_EQ(parsed.config.batch_size, 7);
  EXPECT_EQ(parsed.config.lora_rank, 64);
}

TEST_F(TomlFile, IsTakenByPositionOrByName) {
  const auto path = write("my.toml", "model_name = \"m\"\n");
  EXPECT_EQ(parse(Command::train, {path}).config.model_name, "m");
  EXPECT_EQ(parse(Command::train, {"--config=" + path}).config.model_name, "m");
  EXPECT_EQ(from_toml_file(path).model_name, "m");
  EXPECT_THAT(error_of(Command::train, {path, "--config", path}), HasSubstr("there is a configuration file already"));
}

TEST_F(TomlFile, StrongerWarmUpReplacesTheWeaker) {
  const auto parsed =
      toml("model_name = \"m\"\nlr_scheduler = \"linear\"\nwarmup_ratio = 0.2\n", {"--warmup_steps", "5"});
  EXPECT_EQ(parsed.config.warmup_steps, 5);
  EXPECT_FALSE(parsed.config.warmup_ratio.has_value());
}

TEST_F(TomlFile, StrongerTrainTypeReplacesTheWeaker) {
  EXPECT_EQ(toml("model_name = \"m\"\nload_in_4bit = true\n", {"--train_type", "lora"}).config.train_type,
            TrainType::lora);
  EXPECT_EQ(toml("model_name = \"m\"\ntrain_type = \"lora\"\n", {"--load_in_4bit"}).config.train_type,
            TrainType::qlora);
}

TEST_F(TomlFile, ColumnMappingIsATableOrAList) {
  const std::vector<std::string> expected{"prompt=question", "completion=reply"};
  EXPECT_EQ(toml("model_name = \"m\"\n[column_mapping]\nprompt = \"question\"\ncompletion = \"reply\"\n")
                .config.column_mapping,
            expected);
  EXPECT_EQ(toml("model_name = \"m\"\ncolumn_mapping = { prompt = \"question\", completion = \"reply\" }\n")
                .config.column_mapping,
            expected);
  EXPECT_EQ(toml("model_name = \"m\"\ncolumn_mapping = \"prompt=question,completion=reply\"\n").config.column_mapping,
            expected);
  EXPECT_THAT(toml_error("[column_mapping]\nprompt = 1\n"),
              HasSubstr("expected a text for prompt, got a whole number"));
  EXPECT_THAT(toml_error("[ignore_columns]\nprompt = \"x\"\n"), HasSubstr("got a table"));
}

TEST_F(TomlFile, AMissingFileIsNamed) {
  try {
    parse(Command::train, {(folder_ / "none.toml").string()});
    FAIL();
  } catch (const FileError& error) {
    EXPECT_THAT(error.what(), HasSubstr("none.toml"));
  }
}

TEST_F(TomlFile, SyntaxErrorsHaveLineAndColumn) {
  EXPECT_THAT(toml_error("lr = 1\nbatch_size = = 3\n"), HasSubstr("run.toml:2:14: not valid TOML"));
}

TEST_F(TomlFile, ProblemsNameFileLineAndKey) {
  const auto message =
      toml_error("model_name = \"m\"\n\nlearning_rat = 1\nbatch_size = \"4\"\nlr = true\nnum_epochs = 1.5\n");
  EXPECT_THAT(message, AllOf(HasSubstr("4 problems"),
                             HasSubstr("run.toml:3: learning_rat: unknown option (did you mean "
                                       "learning_rate?)"),
                             HasSubstr("run.toml:4: batch_size: expected a whole number, got a string"),
                             HasSubstr("run.toml:5: lr: expected a number, got true or false"),
                             HasSubstr("run.toml:6: num_epochs: expected a whole number, got 1.5")));
  EXPECT_LT(message.find("learning_rat:"), message.find("batch_size:"));  // in the file's order
  EXPECT_THAT(toml_error("[training]\nlr = 1\n"), HasSubstr("run.toml:1: training: unknown section"));
  EXPECT_THAT(toml_error("prompt = 3\nmodel_name = \"m\"\ntarget_modules = [1]\n"),
              AllOf(HasSubstr("prompt: not an option of `lorica train`"),
                    HasSubstr("expected a list of strings, got a whole")));
}

TEST_F(TomlFile, TwoNamesOfOneOptionAreAnErrorNamingBoth) {
  EXPECT_THAT(toml_error("model_name = \"m\"\nlr = 1\nlearning_rate = 1\n"),
              AllOf(HasSubstr("run.toml:2: lr"), HasSubstr("run.toml:3: learning_rate"), HasSubstr("two names")));
}

TEST_F(TomlFile, WholeNumbersServeAsFractions) {
  EXPECT_EQ(toml("model_name = \"m\"\nlora_alpha = 32\n").config.lora_alpha, 32.0);
}

TEST_F(TomlFile, LayersAreANumberATextOrAList) {
  EXPECT_THAT(toml("model_name = \"m\"\nlayers_to_transform = 3\n").config.layers_to_transform, ElementsAre(3));
  EXPECT_THAT(toml("model_name = \"m\"\nlayers_to_transform = \"1:2\"\n").config.layers_to_transform,
              ElementsAre(1, 2));
  EXPECT_THAT(toml("model_name = \"m\"\nlayers_to_transform = [4, 1]\n").config.layers_to_transform, ElementsAre(1, 4));
}

TEST_F(TomlFile, DatasetsTablesBecomeDatasets) {
  const auto parsed = toml(
      "model_name = \"m\"\n[[datasets]]\ndataset_path = \"a/*.jsonl\"\n[[datasets]]\ndataset_path = "
      "\"b.txt\"\ncontrol_class = 1\n");
  EXPECT_THAT(parsed.config.dataset, ElementsAre("a/*.jsonl", "b.txt"));
  EXPECT_THAT(toml("model_name=\"m\"\n[[datasets]]\ndataset_path = \"a\"\n", {"--dataset", "c"}).config.dataset,
              ElementsAre("c"));
}

TEST_F(TomlFile, DatasetsTablesAreChecked) {
  EXPECT_THAT(toml_error("model_name = \"m\"\n[[datasets]]\ndataset_pth = \"a\"\n"),
              AllOf(HasSubstr("run.toml:3: dataset_pth: unknown key of [[datasets]] (did you mean dataset_path?)"),
                    HasSubstr("dataset_path is missing")));
  EXPECT_THAT(toml_error("model_name = \"m\"\n[[datasets]]\ndataset_path = \"a\"\nmax_tokens = 100\n"),
              HasSubstr("run.toml:4: max_tokens: 100 is not built yet"));
  EXPECT_THAT(toml_error("model_name = \"m\"\ndatasets = 3\n"),
              HasSubstr("expected [[datasets]] tables, got a whole number"));
  EXPECT_THAT(toml_error("model_name = \"m\"\ndataset = \"x\"\n[[datasets]]\ndataset_path = \"a\"\n"),
              HasSubstr("two names"));
}

TEST_F(TomlFile, OtherCommandsReadARunsFileAndSayWhatTheyLeaveOut) {
  const auto parsed =
      toml("model_name = \"m\"\nlora_rank = 4\ncontext_length = 99\n", {"--dataset", "d"}, Command::tokenize);
  EXPECT_EQ(parsed.config.context_length, 99);
  EXPECT_THAT(parsed.notes,
              Contains(EndsWith("options of `lorica train` that `lorica tokenize` doesn't use: lora_rank")));
}

TEST_F(TomlFile, TakesAWholeNumberWrittenWithAPoint) {
  EXPECT_EQ(toml("model_name = \"m\"\nnum_train_epochs = 3.0\nbatch_size = 2e0\n").config.num_epochs, 3);
  EXPECT_EQ(train({"--num_train_epochs", "3.0"}).config.num_epochs, 3);
  EXPECT_THAT(train_error({"--num_train_epochs", "3.5"}), HasSubstr("'3.5' is not a whole number"));
  EXPECT_THAT(train_error({"--num_train_epochs", "1e300"}), HasSubstr("is not a whole number"));
}

TEST_F(TomlFile, ResolvedConfigurationsReadBackEqual) {
  const std::vector<Words> lines = {
      {},
      {"--train_type", "full", "--precision", "fp32", "--lr_scheduler", "polynomial", "--log_to", "none"},
      {"--train_type", "lora", "--optimizer", "adam", "--max_grad_norm", "1", "--lora_rank", "3"},
      {"--optimizer", "adadelta", "--optimizer", "sgd", "--wd", "0.3"},
      {"--preset", "qlora-evolved", "--eval_dataset", "e\"\\\n\t.jsonl", "--eval_steps", "7"},
      {"--preset", "qlora-evolved", "--lr_scheduler", "constant"},
      {"--model_dir", "x", "--lr", "1e-5", "--lora_rank", "9", "--sequence_len", "64", "--dataset", "d", "--output_dir",
       "o"},
      {"--preset=qlora-pipe-lite", "--full_fine_tune", "--lr=1e-5", "--sequence_len=64", "--dataset=d",
       "--output_dir=o"},
      {"--lr_scheduler", "cosine", "--warmup_epochs", "0.1", "--layers_to_transform", "0:3,9", "--modules_to_save",
       "lm_head"},
      {"--recompute", "selective", "--resume", "some/checkpoint-3", "--lora_target_modules", "(q|v)_proj"},
      {"--recompute", "keep", "--use_gradient_checkpointing", "true", "--lr", "0.1234567890123456789"},
      {"--use_gradient_checkpointing", "false", "--eval_fraction", "0.1", "--evals_per_epoch", "2"},
      {"--model_name", "überall/模型", "--n_bits", "16", "--train_type", "lora"},
  };
  for (const auto& words : lines) {
    const auto has_model =
        std::any_of(words.begin(), words.end(), [](const auto& w) { return w.starts_with("--model"); });
    const auto first = has_model ? parse(Command::train, words) : train(words);
    const auto text = to_toml(first.config);
    const auto path = write("resolved.toml", text);
    const auto again = parse_toml_file(path);
    EXPECT_EQ(again.config, first.config) << text;
    EXPECT_EQ(to_toml(again.config), text);
    EXPECT_EQ(again.preset, first.preset);
  }
}

TEST_F(TomlFile, ResolvedConfigurationsOfOtherCommandsReadBackEqual) {
  for (const auto command : {Command::merge, Command::generate, Command::forward, Command::tokenize, Command::report}) {
    auto words = required(command);
    if (command == Command::forward) words.insert(words.end(), {"--load_in_4bit", "--quant_type", "fp4"});
    if (command == Command::generate) words.insert(words.end(), {"--stop", "\n\n", "--stop", "###"});
    const auto first = parse(command, words);
    const auto path = write("resolved.toml", to_toml(first.config, command));
    EXPECT_EQ(from_toml_file(path, command), first.config) << command_name(command);
  }
}

TEST_F(TomlFile, ResolvedConfigurationsNameEveryOption) {
  const auto text = to_toml(train({"--lr_scheduler", "linear"}).config);
  for (const auto& row : option_table()) {
    if (!row.field.stored() || !row.belongs_to(Command::train)) continue;
    if (row.name == "warmup_steps" || row.name == "warmup_epochs") continue;
    EXPECT_THAT(text, HasSubstr("\n" + row.name + " = ")) << row.name;
  }
  EXPECT_THAT(text, AllOf(HasSubstr("\nwarmup_ratio = 0.1\n"), Not(HasSubstr("\nwarmup_steps"))));
}

}  // namespace
}  // namespace lorica::config::test
