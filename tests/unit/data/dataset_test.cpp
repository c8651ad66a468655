// From rows to tokens and masks: what is trained on, what is left out, and that nothing of it is silent.
#include "data/dataset.hpp"

#include "base/error.hpp"
#include "data/fixture.hpp"
#include "data/templates.hpp"

namespace lorica::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(DataTest, TextIsTrainedOnFromEndToEnd) {
  EXPECT_THAT(load_marked("{\"text\": \"ab\"}\n{\"text\": \"c\"}\n"), ElementsAre("<s>[ab</s>]", "<s>[c</s>]"));
  EXPECT_EQ(report_.rows_read, 2);
  EXPECT_EQ(report_.tokens, 7);
  EXPECT_EQ(report_.supervised, 5);
  EXPECT_EQ(report_.files.at(0).format, "text");
}

// Peers' row 5 (wrong or fully masked labels): the mask's edge is exact, prompts carry no loss and answers all of
// theirs.
TEST_F(DataTest, Row5MasksThePromptExactly) {
  EXPECT_THAT(load_marked(R"({"prompt": "2+2=", "completion": "4"})"), ElementsAre("<s>2+2=[4</s>]"));
  EXPECT_THAT(load_marked(R"({"question": "Q", "answer": "A"})"),
              ElementsAre("<s>###Question:\nQ\n###Answer:\n[A</s>]"));
  EXPECT_THAT(load_marked(R"({"context": "C", "question": "Q", "answer": "A"})"),
              ElementsAre("<s>###Context:\nC\n###Question:\nQ\n###Answer:\n[A</s>]"));
  const auto prompt = render_question("alpaca", "I");
  EXPECT_THAT(load_marked(R"({"instruction": "I", "input": null, "output": "O"})"),
              ElementsAre("<s>" + prompt + "[O</s>]"));
}

TEST_F(DataTest, TrainOnAll) {
  options_.train_on = TrainOn::all;
  EXPECT_THAT(load_marked(R"({"prompt": "2+2=", "completion": "4"})"), ElementsAre("<s>[2+2=4</s>]"));
}

// Peers' row 4 (turn terminator untrained): the EOS of every assistant turn carries loss, and no header does.
TEST_F(DataTest, Row4TerminatorsOfAllTurnsCarryLoss) {
  EXPECT_THAT(load_marked(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                              {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})",
                          "rows.json"),
              ElementsAre("<s>### User:\na\n\n### Assistant:\n[b</s>]### User:\nc\n\n### Assistant:\n[d</s>]"));
  EXPECT_THAT(load_marked(R"({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})"),
              ElementsAre("<s>### User:\na\n\n### Assistant:\n[b</s>]"));
}

TEST_F(DataTest, Row4WithoutATerminatorIsRefused) {
  encoder_ = ByteEncoder(true, false);
  const auto path = write("rows.jsonl", R"({"text": "a"})");
  EXPECT_THAT(message<DataError>([&] { load(path); }), HasSubstr("never learn to stop"));
}

// Peers' row 3 (pad = EOS): EOS inside and at the end of an answer keeps its label: masks go by position, never by id.
TEST_F(DataTest, Row3MasksNeverDependOnTheId) {
  EXPECT_THAT(load_marked(R"({"prompt": "p</s>q", "completion": "a</s>b"})"), ElementsAre("<s>p</s>q[a</s>b</s>]"));
  EXPECT_THAT(load_marked(R"({"prompt": "p", "completion": "a</s>"})"), ElementsAre("<s>p[a</s>]"))
      << "EOS is not doubled";
}

// Peers' row 6 (double BOS): one BOS, whether the tokenizer adds it, the text brings it, or both.
TEST_F(DataTest, Row6ExactlyOneBos) {
  EXPECT_THAT(load_marked("{\"text\": \"<s>a\"}\n{\"text\": \"<s><s>b\"}\n{\"text\": \"c<s>d\"}"),
              ElementsAre("<s>[a</s>]", "<s>[b</s>]", "<s>[c<s>d</s>]"));
  EXPECT_EQ(report_.repeated_bos.count, 2);
  encoder_ = ByteEncoder(false);
  EXPECT_THAT(load_marked("{\"text\": \"a\"}\n{\"text\": \"bc\"}"), ElementsAre("a[</s>]", "b[c</s>]"))
      << "nothing predicts the first token";
}

TEST_F(DataTest, Row5UnsupervisedRowsAreNamedAndCounted) {
  const auto path = write("g.jsonl", "{\"text\": \"### Human: a### Assistant: b\"}\n{\"text\": \"### Human: lost\"}\n");
  const auto dataset = load("guanaco", path);
  ASSERT_EQ(dataset.size(), 1);
  EXPECT_EQ(marked(dataset.example(0)), "<s>### Human: a[### Assistant: b</s>]");
  EXPECT_EQ(report_.unsupervised.count, 1);
  EXPECT_THAT(report_.unsupervised.examples, ElementsAre(path + ":2"));
  EXPECT_THAT(report_.text(), HasSubstr("1 row left out: no token carries loss"));
}

TEST_F(DataTest, Row5AllMaskedIsAnError) {
  const auto path = write("g.jsonl", "{\"text\": \"### Human: lost\"}\n");
  EXPECT_THAT(message<DataError>([&] { load("guanaco", path); }),
              AllOf(HasSubstr("no token carries loss"), HasSubstr("g.jsonl:1")));
  options_.context_length = 5;
  const auto long_prompt = write("p.jsonl", R"({"prompt": "123456", "completion": "7"})");
  EXPECT_THAT(message<DataError>([&] { load(long_prompt); }), HasSubstr("answers begin after context_length = 5"));
}

// Peers' row 8 (silent truncation): each policy does what it says, and counts it.
TEST_F(DataTest, Row8TruncateCountsWhatIsLost) {
  options_.context_length = 6;
  EXPECT_THAT(load_marked("{\"text\": \"abcdefgh\"}\n{\"text\": \"abcd\"}"),
              ElementsAre("<s>[abcde]", "<s>[abcd</s>]"));
  EXPECT_EQ(report_.truncated.count, 1);
  EXPECT_EQ(report_.tokens_cut, 4);
  EXPECT_EQ(report_.ends_cut, 1);
  EXPECT_EQ(report_.longest_row, 10);
  EXPECT_EQ(report_.longest_example, 6);
  EXPECT_THAT(report_.text(),
              AllOf(HasSubstr("1 row truncated"), HasSubstr("4 tokens cut"), HasSubstr("rows.jsonl:1: 10 tokens")));
}

TEST_F(DataTest, Row8DropLeavesLongRowsOut) {
  options_.context_length = 6;
  options_.truncation = Truncation::drop;
  EXPECT_THAT(load_marked("{\"text\": \"abcdefgh\"}\n{\"text\": \"abcd\"}"), ElementsAre("<s>[abcd</s>]"));
  EXPECT_EQ(report_.dropped.count, 1);
  EXPECT_EQ(report_.truncated.count, 0);
}

TEST_F(DataTest, Row8ErrorNamesTheRow) {
  options_.context_length = 6;
  options_.truncation = Truncation::error;
  EXPECT_THAT(message<DataError>([&] { load_marked("{\"text\": \"abcd\"}\n{\"text\": \"abcdefgh\"}"); }),
              AllOf(HasSubstr("rows.jsonl:2: 10 tokens"), HasSubstr("context_length is 6")));
}

TEST_F(DataTest, Row8SplitKeepsEveryLabelOnce) {
  options_.context_length = 6;
  options_.truncation = Truncation::split;
  EXPECT_THAT(load_marked(R"({"text": "abcdefgh"})"), ElementsAre("<s>[abcde]", "<s>[fgh</s>]"));
  EXPECT_EQ(report_.split.count, 1);
  EXPECT_EQ(report_.supervised, 9);
  EXPECT_THAT(load_marked(R"({"prompt": "123", "completion": "abcdef"})"), ElementsAre("<s>123[ab]", "<s>[cdef</s>]"));
  EXPECT_THAT(load_marked(R"({"prompt": "1234567", "completion": "a"})"), ElementsAre("<s>67[a</s>]"));
  encoder_ = ByteEncoder(false);
  EXPECT_THAT(load_marked(R"({"text": "abcdefgh"})"), ElementsAre("a[bcdef]", "f[gh</s>]"));
  EXPECT_EQ(report_.supervised, 8);
}

TEST_F(DataTest, MalformedRowsNameFileAndLine) {
  const std::string rows =
      "{\"text\": \"a\"}\n{\"text\": oops}\n{\"txt\": \"b\"}\n{\"text\": 5}\n[1]\n{\"text\": \"\xff\"}\n{\"text\": "
      "\"z\"}";
  EXPECT_THAT(message<DataError>([&] { load_marked(rows); }),
              AllOf(HasSubstr("rows.jsonl:2:10: malformed JSON: "), HasSubstr("skip_bad_rows")));
  options_.skip_bad_rows = true;
  EXPECT_THAT(load_marked(rows), ElementsAre("<s>[a</s>]", "<s>[z</s>]"));
  EXPECT_EQ(report_.bad.count, 5);
  EXPECT_THAT(report_.bad.examples,
              ElementsAre(HasSubstr(":2:10: malformed"), HasSubstr(":3: the column 'text' is missing; the row has txt"),
                          HasSubstr(":4: the column 'text' must be text, not a number"),
                          HasSubstr(":5: a row must be an object"), HasSubstr(":6:11: byte 68 (0xFF) isn't UTF-8")));
  EXPECT_EQ(report_.rows_read, 7);
}

TEST_F(DataTest, MissingColumnAndUnknownRole) {
  options_.format = DatasetFormat::instruction;
  EXPECT_THAT(message<DataError>([&] { load_marked(R"({"instruction": "a", "text": "b"})"); }),
              HasSubstr("rows.jsonl:1: the column 'output' is missing; the row has instruction, text"));
  options_.format = DatasetFormat::automatic;
  EXPECT_THAT(message<DataError>([&] { load_marked(R"({"messages": [{"role": "robot", "content": "b"}]})"); }),
              HasSubstr("rows.jsonl:1: turn 1 has the unknown role 'robot'"));
  EXPECT_THAT(message<DataError>([&] { load_marked(R"({"foo": "b"})"); }),
              HasSubstr("rows.jsonl:1: can't tell what to train on from the columns foo"));
}

TEST_F(DataTest, EmptyDataSetsAreErrors) {
  EXPECT_THAT(message<DataError>([&] { load_marked(""); }), HasSubstr("is empty"));
  EXPECT_THAT(message<DataError>([&] { load_marked("[]", "rows.json"); }), HasSubstr("is empty"));
  EXPECT_THAT(message<DataError>([&] { load_marked("{\"text\": \"\"}"); }), HasSubstr("1 row left out: empty"));
}

TEST_F(DataTest, BadOptionsAreRefused) {
  const auto path = write("rows.jsonl", R"({"text": "a"})");
  options_.context_length = 1;
  EXPECT_THAT(message<ConfigError>([&] { load(path); }), HasSubstr("context_length"));
  options_.context_length = 2;
  EXPECT_THAT(message<ConfigError>([&] { load(path); }), HasSubstr("at least 3 tokens"));
  options_.context_length = 8;
  options_.dataset_samples = 0;
  EXPECT_THAT(message<ConfigError>([&] { load(path); }), HasSubstr("dataset_samples"));
}

TEST_F(DataTest, EvalFractionIsSeededAndDisjoint) {
  std::string rows;
  for (int i = 0; i < 40; ++i) rows += fmt::format("{{\"text\": \"row {} with some words\"}}\n", i);
  options_.sources = {{.dataset = write("rows.jsonl", rows), .path = ""}};
  options_.truncation = Truncation::split;
  options_.context_length = 10;  // several pieces a row
  options_.eval_fraction = 0.24;
  DataReport eval_report;
  const auto sides = load_train_and_eval(options_, encoder_, report_, eval_report);
  std::set<std::string> train, eval;
  for (std::int64_t i = 0; i < sides.train.size(); ++i) train.insert(sides.train.origin(i));
  for (std::int64_t i = 0; i < sides.eval.size(); ++i) eval.insert(sides.eval.origin(i));
  EXPECT_EQ(eval.size(), 10u);
  EXPECT_EQ(train.size(), 30u);
  for (const auto& row : eval) EXPECT_FALSE(train.contains(row)) << row;
  EXPECT_EQ(sides.train.tokens() + sides.eval.tokens(), report_.tokens);
  const auto again = load_train_and_eval(options_, encoder_, report_, eval_report);
  EXPECT_EQ(again.eval.content_hash(), sides.eval.content_hash());
  options_.seed = 43;
  EXPECT_NE(load_train_and_eval(options_, encoder_, report_, eval_report).eval.content_hash(),
            sides.eval.content_hash());
}

// A line is not a row: all rows of an array may stand in one.
TEST_F(DataTest, EvalFractionCountsRowsNotLines) {
  std::string rows;
  for (int i = 0; i < 20; ++i) rows += fmt::format("{}{{\"text\": \"row {}\"}}", i > 0 ? ", " : "", i);
  options_.sources = {{.dataset = write("rows.json", "[" + rows + "]"), .path = ""},
                      {.dataset = write("more.jsonl", "{\"text\": \"another\"}"), .path = ""}};
  options_.eval_fraction = 0.1;
  DataReport eval_report;
  const auto sides = load_train_and_eval(options_, encoder_, report_, eval_report);
  EXPECT_EQ(sides.eval.size(), 3);
  EXPECT_EQ(sides.train.size(), 18);
}

// A text file has no rows: its pieces are what can be held out.
TEST_F(DataTest, EvalFractionOfOneText) {
  options_.sources = {{.dataset = write("book.txt", std::string(1000, 'x')), .path = ""}};
  options_.context_length = 101;
  options_.eval_fraction = 0.1;
  DataReport eval_report;
  EXPECT_THAT(message<DataError>([&] { load_train_and_eval(options_, encoder_, report_, eval_report); }),
              HasSubstr("truncation split makes several examples of it"));
  options_.truncation = Truncation::split;
  const auto sides = load_train_and_eval(options_, encoder_, report_, eval_report);
  EXPECT_EQ(sides.eval.size(), 2);
  EXPECT_EQ(sides.train.size(), 9);
}

TEST_F(DataTest, EvalFirstRowsOrOwnFiles) {
  options_.sources = {
      {.dataset = write("rows.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"c\"}"), .path = ""}};
  options_.eval_first = 2;
  DataReport eval_report;
  auto sides = load_train_and_eval(options_, encoder_, report_, eval_report);
  ASSERT_EQ(sides.eval.size(), 2);
  EXPECT_EQ(marked(sides.eval.example(1)), "<s>[b</s>]");
  EXPECT_EQ(marked(sides.train.example(0)), "<s>[c</s>]");
  options_.eval_sources = {{.dataset = write("eval.txt", "held out"), .path = ""}};
  EXPECT_THAT(message<ConfigError>([&] { load_train_and_eval(options_, encoder_, report_, eval_report); }),
              HasSubstr("exclude"));
  options_.eval_first = 0;
  sides = load_train_and_eval(options_, encoder_, report_, eval_report);
  EXPECT_EQ(sides.train.size(), 3);
  EXPECT_EQ(marked(sides.eval.example(0)), "<s>[held out</s>]");
  EXPECT_EQ(eval_report.examples, 1);
  options_.eval_sources.clear();
  options_.eval_first = 3;
  EXPECT_THAT(message<DataError>([&] { load_train_and_eval(options_, encoder_, report_, eval_report); }),
              HasSubstr("of 3 rows, 3"));
  options_.eval_first = 0;
  options_.eval_fraction = 1;
  EXPECT_THROW(load_train_and_eval(options_, encoder_, report_, eval_report), ConfigError);
}

}  // namespace
}  // namespace lorica::data
