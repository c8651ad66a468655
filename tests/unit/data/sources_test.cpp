// Finding the files of a data set, by name and by path, and which rows of it are used.
#include "data/sources.hpp"

#include "base/error.hpp"
#include "data/fixture.hpp"
#include "data/glob.hpp"
#include "data/numpy_random.hpp"

namespace lorica::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class SourcesTest : public DataTest {
 protected:
  std::vector<std::string> files(const std::string& dataset, const std::string& path = "") {
    std::vector<std::string> names;
    for (const auto& file : resolve_source({.dataset = dataset, .path = path}, options_).files) {
      names.push_back(file.lexically_relative(folder_).string());
    }
    return names;
  }
  std::string questions(int rows) {
    std::string text;
    for (int i = 0; i < rows; ++i) {
      text += fmt::format("{{\"context\": \"c\", \"question\": \"q\", \"answer\": \"{}\"}}\n", i);
    }
    return text;
  }
  /// The answers of a dataset of questions(), in its order.
  std::vector<std::int64_t> answers(const TokenizedDataset& dataset) {
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < dataset.size(); ++i) {
      const auto example = dataset.example(i);
      const auto span = example.supervised.front();
      all.push_back(std::stoll(text_of(example.tokens.subspan(span.begin, span.end - span.begin))));
    }
    return all;
  }
};

TEST_F(SourcesTest, Globs) {
  for (const auto* name : {"a/1.jsonl", "a/2.jsonl", "a/b/3.jsonl", "a/b/4.txt", ".hidden/5.jsonl", "6.jsonl"})
    write(name, "x");
  EXPECT_THAT(files((folder_ / "a/*.jsonl").string()), ElementsAre("a/1.jsonl", "a/2.jsonl"));
  EXPECT_THAT(files((folder_ / "**/*.jsonl").string()),
              ElementsAre("6.jsonl", "a/1.jsonl", "a/2.jsonl", "a/b/3.jsonl"));
  EXPECT_THAT(files((folder_ / "?/[2-9].jsonl").string()), ElementsAre("a/2.jsonl"));
  EXPECT_THAT(message<DataError>([&] { files((folder_ / "a/*.json").string()); }), HasSubstr("no file matches"));
}

TEST_F(SourcesTest, FoldersPreferTablesAndSkipBookkeeping) {
  for (const auto* name :
       {"d/data/1.jsonl", "d/readme.txt", "d/dataset_info.json", "d/state.json", "d/.git/x.json", "t/1.txt"}) {
    write(name, "x");
  }
  EXPECT_THAT(files((folder_ / "d").string()), ElementsAre("d/data/1.jsonl"));
  EXPECT_THAT(files((folder_ / "t").string()), ElementsAre("t/1.txt"));
  std::filesystem::create_directory(folder_ / "empty");
  EXPECT_THAT(message<DataError>([&] { files((folder_ / "empty").string()); }), HasSubstr("holds no data file"));
}

// Names say the split, and evaluation data are trained on only by name.
TEST_F(SourcesTest, FoldersGiveTheSplitOfTheirNames) {
  for (const auto* name :
       {"hub/data/train-00000-of-00001.parquet", "hub/data/test-00000-of-00001.parquet", "hub/README.md",
        "dirs/test/1.jsonl", "dirs/train/1.jsonl", "dirs/dev/1.jsonl", "plain/latest.jsonl", "plain/contest.jsonl",
        "plain/my_eval.jsonl", "plain/notes.txt", "plain/table.csv", "plain/more.jsonl.gz", "eval/a.jsonl"}) {
    write(name, "x");
  }
  const auto resolve = [&](const std::string& name, bool for_evaluation) {
    options_.for_evaluation = for_evaluation;
    return resolve_source({.dataset = (folder_ / name).string(), .path = ""}, options_);
  };
  const auto chosen = [&](const std::string& name, bool for_evaluation = false) {
    std::vector<std::string> names;
    for (const auto& file : resolve(name, for_evaluation).files) {
      names.push_back(file.lexically_relative(folder_).string());
    }
    return names;
  };
  EXPECT_THAT(chosen("hub"), ElementsAre("hub/data/train-00000-of-00001.parquet"));
  EXPECT_THAT(chosen("hub", true), ElementsAre("hub/data/test-00000-of-00001.parquet"));
  EXPECT_THAT(chosen("dirs"), ElementsAre("dirs/train/1.jsonl"));
  EXPECT_THAT(chosen("dirs", true), ElementsAre("dirs/dev/1.jsonl")) << "validation goes before test";
  EXPECT_THAT(chosen("dirs/test"), ElementsAre("dirs/test/1.jsonl")) << "asked for by name";
  EXPECT_THAT(chosen("plain"), ElementsAre("plain/contest.jsonl", "plain/latest.jsonl"));
  EXPECT_THAT(chosen("plain/my_eval.jsonl"), ElementsAre("plain/my_eval.jsonl"));
  EXPECT_THAT(chosen("plain/*.jsonl"), ElementsAre("plain/contest.jsonl", "plain/latest.jsonl"));
  EXPECT_THAT(chosen("plain/*eval*"), ElementsAre("plain/my_eval.jsonl")) << "the pattern asks for it";
  EXPECT_THAT(chosen("eval"), ElementsAre("eval/a.jsonl"));
  std::map<std::string, std::string> left;
  for (const auto& file : resolve("plain", false).left) left[file.path.filename().string()] = file.reason;
  EXPECT_THAT(left["my_eval.jsonl"], HasSubstr("never trained on"));
  EXPECT_THAT(left["notes.txt"], HasSubstr("give it by name"));
  EXPECT_THAT(left["table.csv"], HasSubstr("convert it"));
  EXPECT_THAT(left["more.jsonl.gz"], HasSubstr("unpack it"));
  EXPECT_EQ(left.size(), 4u);
}

TEST_F(SourcesTest, FoldersWithoutTheWantedSplit) {
  write("only/test.jsonl", "x");
  write("csv/rows.csv", "x");
  write("trained/train.jsonl", "x");
  EXPECT_THAT(message<DataError>([&] { files((folder_ / "only").string()); }),
              AllOf(HasSubstr("only evaluation data are there (test.jsonl)"), HasSubstr("Give the file itself")));
  EXPECT_THAT(message<DataError>([&] { files((folder_ / "csv").string()); }), HasSubstr("only rows.csv"));
  options_.for_evaluation = true;
  EXPECT_THAT(message<DataError>([&] { files((folder_ / "trained").string()); }), HasSubstr("eval_fraction"));
}

// What training leaves and evaluation reads is used.
TEST_F(SourcesTest, OneFolderForTrainingAndEvaluation) {
  write("both/train.jsonl", "{\"text\": \"a\"}");
  write("both/dev.jsonl", "{\"text\": \"b\"}");
  write("both/test.jsonl", "{\"text\": \"c\"}");
  const auto folder = (folder_ / "both").string();
  options_.sources = options_.eval_sources = {{.dataset = folder, .path = ""}};
  DataReport eval_report;
  const auto sides = load_train_and_eval(options_, encoder_, report_, eval_report);
  EXPECT_EQ(marked(sides.train.example(0)), "<s>[a</s>]");
  EXPECT_EQ(marked(sides.eval.example(0)), "<s>[b</s>]");
  auto account = report_.account();
  account.add(eval_report.account());
  for (const auto& entry : account.entries()) EXPECT_EQ(entry.part, "test.jsonl") << entry.reason;
  EXPECT_EQ(account.entries().size(), 2u);
}

TEST_F(SourcesTest, BracketsInAnExistingPathAreItsName) {
  write("set[v2]/train.jsonl", "x");
  write("set (1)/train.jsonl", "x");
  EXPECT_THAT(files((folder_ / "set[v2]").string()), ElementsAre("set[v2]/train.jsonl"));
  EXPECT_THAT(files((folder_ / "set[v2]/*.jsonl").string()), ElementsAre("set[v2]/train.jsonl"));
  EXPECT_THAT(files((folder_ / "set (1)").string()), ElementsAre("set (1)/train.jsonl"));
}

TEST_F(SourcesTest, MissingAndUnknownFiles) {
  EXPECT_THAT(message<DataError>([&] { files("alpacca"); }), HasSubstr("did you mean alpaca?"));
  EXPECT_THAT(message<DataError>([&] { files(write("a.csv", "x")); }), HasSubstr("unknown kind of data file"));
  EXPECT_THAT(message<DataError>([&] { files("guanaco"); }),
              AllOf(HasSubstr("timdettmers/openassistant-guanaco"), HasSubstr("dataset_path")));
  EXPECT_THAT(message<DataError>([&] { files("sql", (folder_ / "nowhere").string()); }), HasSubstr("nowhere"));
}

TEST_F(SourcesTest, HubCachesAreSearched) {
  write("hub/datasets--yahma--alpaca-cleaned/refs/main", "c0ffee\n");
  write("hub/datasets--yahma--alpaca-cleaned/snapshots/c0ffee/alpaca_data_cleaned.json", "[]");
  write("hub/datasets--yahma--alpaca-cleaned/snapshots/0ld/alpaca_data_cleaned.json", "[]");
  write("datasets/timdettmers___openassistant-guanaco/default/0.0.0/abc/openassistant-guanaco-train.arrow", "x");
  write("datasets/timdettmers___openassistant-guanaco/default/0.0.0/abc/openassistant-guanaco-test.arrow", "x");
  options_.hub_caches = {folder_ / "hub", folder_ / "datasets"};
  EXPECT_THAT(files("alpaca"),
              ElementsAre("hub/datasets--yahma--alpaca-cleaned/snapshots/c0ffee/alpaca_data_cleaned.json"));
  EXPECT_THAT(
      files("guanaco"),
      ElementsAre("datasets/timdettmers___openassistant-guanaco/default/0.0.0/abc/openassistant-guanaco-train.arrow"));
}

TEST_F(SourcesTest, TextFilesAreOneDocumentEach) {
  write("docs/b.txt", "second\nfile\n");
  write("docs/a.txt", "first");
  write("docs/empty.txt", "");
  const auto dataset = load((folder_ / "docs/*.txt").string());
  ASSERT_EQ(dataset.size(), 2);
  EXPECT_EQ(marked(dataset.example(0)), "<s>[first</s>]");
  EXPECT_EQ(marked(dataset.example(1)), "<s>[second\nfile\n</s>]");
  EXPECT_EQ(report_.empty.count, 1);
}

TEST_F(SourcesTest, SeveralSourcesInOrder) {
  options_.sources = {{.dataset = write("b.jsonl", R"({"text": "b"})"), .path = ""},
                      {.dataset = write("a.json", R"([{"prompt": "p", "completion": "c"}])"), .path = ""}};
  const auto dataset = load_dataset(options_, encoder_, report_);
  ASSERT_EQ(dataset.size(), 2);
  EXPECT_EQ(marked(dataset.example(0)), "<s>[b</s>]");
  EXPECT_EQ(marked(dataset.example(1)), "<s>p[c</s>]");
  EXPECT_EQ(report_.files.at(1).format, "prompt_completion");
}

TEST_F(SourcesTest, NumpyPermutation) {
  EXPECT_THAT(numpy_permutation(42, 10), ElementsAre(5, 6, 0, 7, 3, 2, 4, 9, 1, 8));  // reference, qlora-pipe-lite §2
  EXPECT_TRUE(numpy_permutation(7, 0).empty());
}

TEST_F(SourcesTest, AlpacaSampleTakesTheFirstRows) {
  std::string rows;
  for (int i = 0; i < 9; ++i)
    rows += fmt::format("{{\"instruction\": \"i\", \"input\": \"\", \"output\": \"{}\"}}\n", i);
  options_.dataset_samples = 3;
  EXPECT_THAT(answers(load("alpaca_sample", write("alpaca.jsonl", rows))), ElementsAre(0, 1, 2));
  EXPECT_EQ(report_.rows_read, 3);
  EXPECT_EQ(load("alpaca", write("alpaca.jsonl", rows)).size(), 9);
}

TEST_F(SourcesTest, SqlIsShuffledAndLosesItsFirstThousand) {
  const auto path = write("sql.jsonl", questions(1004));
  const auto order = numpy_permutation(options_.seed, 1004);
  EXPECT_THAT(answers(load("sql", path)), ElementsAre(order[1000], order[1001], order[1002], order[1003]));
  EXPECT_EQ(report_.rows_read, 4);
  EXPECT_THAT(message<DataError>([&] { load("sql", write("small.jsonl", questions(10))); }),
              HasSubstr("first 1000 rows, and only 10"));
}

TEST_F(SourcesTest, OrcaMathIsAFixedSample) {
  const auto path = write("orca.jsonl", questions(50));
  options_.dataset_samples = 4;
  options_.seed = 7;
  const auto order = numpy_permutation(42, 50);
  EXPECT_THAT(answers(load("orca_math", path)), ElementsAre(order[0], order[1], order[2], order[3]));
  options_.dataset_samples = 51;
  EXPECT_THAT(message<DataError>([&] { load("orca_math", path); }),
              HasSubstr("has 50 rows, but dataset_samples asks for 51"));
}

// A sorted source next to another keeps the sources' order.
TEST_F(SourcesTest, SelectionBesideAnotherSource) {
  options_.dataset_samples = 3;
  options_.sources = {{.dataset = write("first.jsonl", questions(2)), .path = ""},
                      {.dataset = "orca_math", .path = write("orca.jsonl", questions(9))},
                      {.dataset = write("last.jsonl", questions(1)), .path = ""}};
  const auto order = numpy_permutation(42, 9);
  EXPECT_THAT(answers(load_dataset(options_, encoder_, report_)), ElementsAre(0, 1, order[0], order[1], order[2], 0));
}

TEST_F(SourcesTest, DummyIsMadeUp) {
  options_.dataset_samples = 3;
  options_.context_length = 300;
  const auto dataset = load("dummy");
  ASSERT_EQ(dataset.size(), 3);
  EXPECT_EQ(dataset.length(0), 300);
  EXPECT_THAT(marked(dataset.example(2)),
              HasSubstr("### Instruction:\ninstruction\n\n### Input:\ninput\n\n### Response:[outputoutput"));
  EXPECT_EQ(report_.truncated.count, 3);
}

}  // namespace
}  // namespace lorica::data
