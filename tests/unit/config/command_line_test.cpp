// How arguments are read: prefixes, standalone booleans, lists, repetitions, suggestions, all problems at once.
#include "config/helpers.hpp"
#include "config/option.hpp"

namespace lorica::config::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(CommandLine, AcceptsUniquePrefixes) {
  EXPECT_EQ(train({"--context_len", "64"}).config.context_length, 64);
  EXPECT_EQ(train({"--learning", "0.5"}).config.lr, 0.5);
}

TEST(CommandLine, PrefersTheExactNameOverLongerOnes) {
  const auto parsed = train({"--lr", "0.5"});  // also the beginning of lr_scheduler
  EXPECT_EQ(parsed.config.lr, 0.5);
  EXPECT_EQ(parsed.config.lr_scheduler, Scheduler::constant);
  EXPECT_EQ(train({"--r", "8"}).config.lora_rank, 8);
}

TEST(CommandLine, RefusesAmbiguousPrefixes) {
  EXPECT_THAT(train_error({"--warm", "3"}), HasSubstr("--warm: may mean warmup_steps, warmup_ratio, warmup_epochs"));
}

TEST(CommandLine, ReadsBooleansInAllSpellings) {
  for (const char* yes : {"y", "yes", "t", "true", "on", "1", "True", "YES"}) {
    EXPECT_TRUE(train({"--packing", yes}).config.packing) << yes;
  }
  for (const char* no : {"n", "no", "f", "false", "off", "0", "False"}) {
    EXPECT_FALSE(train({"--save_model", no}).config.save_model) << no;
  }
  EXPECT_TRUE(train({"--packing"}).config.packing);
  const auto parsed = train({"--packing", "--lr", "0.5"});
  EXPECT_TRUE(parsed.config.packing);
  EXPECT_EQ(parsed.config.lr, 0.5);
  EXPECT_THAT(train_error({"--packing=maybe"}), HasSubstr("--packing: 'maybe' is neither true nor false"));
}

TEST(CommandLine, ResumeIsASwitchOrAPath) {
  EXPECT_EQ(train({}).config.resume, "");
  EXPECT_EQ(train({"--resume"}).config.resume, "latest");
  EXPECT_EQ(train({"--resume", "true"}).config.resume, "latest");
  EXPECT_EQ(train({"--resume", "no"}).config.resume, "");
  EXPECT_EQ(train({"--resume_from_checkpoint", "out/checkpoint-5"}).config.resume, "out/checkpoint-5");
  EXPECT_EQ(train({"--resume", "--lr", "0.5"}).config.resume, "latest");
}

TEST(CommandLine, ReadsListsByCommasAndRepetition) {
  EXPECT_THAT(train({"--target_modules", "q_proj, v_proj"}).config.lora_target_modules,
              testing::ElementsAre("q_proj", "v_proj"));
  EXPECT_THAT(train({"--target_modules", R"(["q_proj", "v_proj"])"}).config.lora_target_modules,
              testing::ElementsAre("q_proj", "v_proj"));
  EXPECT_THAT(train({"--dataset", "a,b.jsonl", "--dataset", "c.txt"}).config.dataset,
              testing::ElementsAre("a,b.jsonl", "c.txt"));
  auto words = required(Command::generate, {"prompt"});
  words.insert(words.end(), {"--prompt", "Hello, world", "--prompt", R"(["x"])", "--stop", "\n"});
  const auto parsed = parse(Command::generate, words);
  EXPECT_THAT(parsed.config.prompt, testing::ElementsAre("Hello, world", R"(["x"])"));
  EXPECT_THAT(parsed.config.stop, testing::ElementsAre("\n"));
}

TEST(CommandLine, KeepsARegexWhole) {
  EXPECT_THAT(train({"--lora_target_modules", R"(.*\.(q|v){1,2}_proj)"}).config.lora_target_modules,
              testing::ElementsAre(R"(.*\.(q|v){1,2}_proj)"));
}

TEST(CommandLine, ReadsLayers) {
  EXPECT_THAT(train({"--layers_to_transform", "5, 0:2,1"}).config.layers_to_transform,
              testing::ElementsAre(0, 1, 2, 5));
  EXPECT_THAT(train_error({"--layers_to_transform", "3:1"}), HasSubstr("'3:1' is an empty range"));
  EXPECT_THAT(train_error({"--layers_to_transform", "a"}),
              HasSubstr("--layers_to_transform: 'a' is not a layer number"));
  EXPECT_THAT(train_error({"--layers_to_transform", "0:99999999999"}), HasSubstr("is not a layer number"));
}

TEST(CommandLine, ReadsSizes) {
  const auto size = [](const char* text) {
    auto words = required(Command::merge);
    words.insert(words.end(), {"--max_shard_size", text});
    return parse(Command::merge, words).config.shard_size;
  };
  EXPECT_EQ(size("5GB"), 5'000'000'000);
  EXPECT_EQ(size("2 MiB"), 2'097'152);
  EXPECT_EQ(size("1.5kb"), 1500);
  EXPECT_EQ(size("77"), 77);
  auto words = required(Command::merge);
  words.insert(words.end(), {"--shard_size", "5 parsecs"});
  EXPECT_THAT(error_of(Command::merge, words), HasSubstr("--shard_size: '5 parsecs' is not a size such as 5GB"));
}

TEST(CommandLine, TheLastOfARepeatedOptionCountsWithANote) {
  const auto parsed = train({"--lr", "0.5", "--lr", "0.25"});
  EXPECT_EQ(parsed.config.lr, 0.25);
  EXPECT_THAT(parsed.notes, Contains("--lr is given more than once; the last one counts"));
}

TEST(CommandLine, TwoNamesOfOneOptionAreAnErrorNamingBoth) {
  EXPECT_EQ(train_error({"--lr", "0.5", "--learning_rate", "0.5"}),
            "--lr and --learning_rate: two names of the same option; give one");
}

TEST(CommandLine, SuggestsTheNearestName) {
  EXPECT_EQ(train_error({"--leraning_rate", "1"}), "--leraning_rate: unknown option (did you mean learning_rate?)");
  EXPECT_EQ(train_error({"--optimzer=sgd"}), "--optimzer: unknown option (did you mean optimizer?)");
  EXPECT_EQ(train_error({"--qqqqqqqqqqqqqqq"}), "--qqqqqqqqqqqqqqq: unknown option; `lorica train --help` lists all");
  EXPECT_EQ(train_error({"--lr_scheduler", "cosin"}),
            "--lr_scheduler: 'cosin' is not accepted (did you mean 'cosine'?); use one of: constant, "
            "constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial, exponential");
}

TEST(CommandLine, NamesTheCommandThatAnOptionBelongsTo) {
  EXPECT_EQ(train_error({"--max_new_tokens", "5"}),
            "--max_new_tokens: not an option of `lorica train`; it belongs to `lorica generate`");
}

TEST(CommandLine, RefusesNumbersThatAreNotWhole) {
  EXPECT_THAT(train_error({"--lr", "abc"}), HasSubstr("--lr: 'abc' is not a number"));
  EXPECT_THAT(train_error({"--lr", "nan"}), HasSubstr("not a finite number"));
  EXPECT_THAT(train_error({"--lr", "1e400"}), HasSubstr("--lr: "));
  EXPECT_THAT(train_error({"--batch_size", "1.5"}), HasSubstr("--batch_size: '1.5' is not a whole number"));
  EXPECT_THAT(train_error({"--batch_size", "99999999999999999999"}), HasSubstr("is not a whole number"));
  EXPECT_THAT(train_error({"--lr"}), HasSubstr("--lr: a value is missing; expected a number"));
  EXPECT_THAT(train_error({"--lr", "--packing"}), HasSubstr("--lr: a value is missing"));
  EXPECT_EQ(train({"--max_steps", "-1"}).config.max_steps, -1);
}

TEST(CommandLine, RefusesStrayWords) {
  EXPECT_THAT(train_error({"data.jsonl"}), HasSubstr("'data.jsonl': not expected here"));
  EXPECT_THAT(error_of(Command::generate, {"--model_name", "m", "--prompt", "a", "b"}),
              HasSubstr("'b': not expected here; options start with --"));
}

TEST(CommandLine, ReportTakesItsFolderByPosition) {
  EXPECT_THAT(parse(Command::report, {"my-run"}).config.run, testing::ElementsAre("my-run"));
  EXPECT_THAT(parse(Command::report, {"one", "other"}).config.run, testing::ElementsAre("one", "other"));
}

TEST(CommandLine, ListsAllProblemsAtOnce) {
  const auto message = error_of(Command::train, {"--leraning_rate", "3", "--lr", "abc", "--batch_size", "0",
                                                 "--precision", "fp16", "--warmup_steps", "1", "--warmup_ratio", "0.1",
                                                 "--resume", "--overwrite_output_dir", "--n_bits", "16"});
  EXPECT_THAT(message,
              AllOf(HasSubstr("8 problems in the configuration:\n"), HasSubstr("\n  --leraning_rate: "),
                    HasSubstr("\n  --lr: "), HasSubstr("\n  --batch_size: "), HasSubstr("\n  --precision: "),
                    HasSubstr("\n  --warmup_steps and --warmup_ratio: "), HasSubstr("\n  model_name is missing"),
                    HasSubstr("\n  --resume and --overwrite_output_dir: "), HasSubstr("\n  --n_bits 16 and ")));
}

TEST(CommandLine, AnUnreadableValueIsNotAlsoMissing) {
  const auto message = error_of(Command::forward, {"--model_name", "m", "--input", "i", "--output"});
  EXPECT_THAT(message, AllOf(HasSubstr("--output: a value is missing"), Not(HasSubstr("output is missing"))));
}

TEST(CommandLine, EachCommandSaysWhatItNeeds) {
  EXPECT_THAT(error_of(Command::merge, {}), AllOf(HasSubstr("model_name is missing"), HasSubstr("adapter is missing"),
                                                  HasSubstr("output is missing")));
  EXPECT_THAT(error_of(Command::generate, {"--model", "m"}), HasSubstr("prompt is missing"));
  EXPECT_THAT(error_of(Command::generate, {"--model", "m", "--prompt", "a", "--prompts_file", "b"}),
              HasSubstr("--prompt and --prompts_file: give one of them"));
  EXPECT_THAT(error_of(Command::forward, {"--model", "m"}),
              AllOf(HasSubstr("input is missing"), HasSubstr("output is missing")));
  EXPECT_THAT(error_of(Command::tokenize, {"--model", "m"}), HasSubstr("input is missing"));
  EXPECT_EQ(error_of(Command::tokenize, {"--model", "m", "--dataset", "d"}), "");
  EXPECT_THAT(error_of(Command::tokenize, {"--model", "m", "--dataset", "d", "--input", "i"}), HasSubstr("give one"));
  EXPECT_THAT(error_of(Command::report, {}), HasSubstr("run is missing"));
}

TEST(CommandLine, MergeTakesQloraPipeLitesNames) {
  const auto parsed = parse(Command::merge, {"--input", "b", "--adapter", "a", "--output", "o", "--scale", "0.5"});
  EXPECT_EQ(parsed.config.model_name, "b");
  EXPECT_EQ(parsed.config.scale, 0.5);
}

}  // namespace
}  // namespace lorica::config::test
