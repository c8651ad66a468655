// Each key of a row is used, refused, or counted: nothing of it changes the meaning in silence.
#include "base/error.hpp"
#include "data/fixture.hpp"
#include "data/row_renderer.hpp"

namespace lorica::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class RowsTest : public DataTest {
 protected:
  std::string fault(const std::string& row) {
    return message<DataError>([&] { load_marked(row); });
  }
  /// Columns of the last load that were left aside: "name×rows".
  std::vector<std::string> left_aside() {
    std::vector<std::string> names;
    for (const auto& entry : report_.account().entries())
      names.push_back(fmt::format("{}×{}", entry.part, entry.count));
    return names;
  }
};

TEST_F(RowsTest, UnknownKeysAreCounted) {
  load_marked("{\"text\": \"a\", \"id\": 1, \"tags\": []}\n{\"text\": \"b\", \"id\": 2, \"url\": \"u\"}");
  EXPECT_THAT(left_aside(), ElementsAre("id×2", "url×1"));
  EXPECT_THAT(report_.account().lines().at(0), HasSubstr("rows are read as text"));
  load_marked(
      R"({"messages": [{"role": "user", "content": "a", "name": "Bob"}, {"role": "assistant", "content": "b"}]})");
  EXPECT_THAT(left_aside(), ElementsAre("messages[].name×1"));
}

TEST_F(RowsTest, KindsOfDataThatWouldBeTrainedWrongly) {
  EXPECT_THAT(fault(R"({"prompt": "p", "chosen": "a", "rejected": "b"})"),
              AllOf(HasSubstr("rows.jsonl:1: the column 'chosen'"), HasSubstr("preference data")));
  EXPECT_THAT(fault(R"({"prompt": "p", "completion": "a", "rejected": "b"})"), HasSubstr("'rejected'"));
  EXPECT_THAT(fault(R"({"text_chosen": "a", "text_rejected": "b"})"), HasSubstr("preference data"));
  EXPECT_THAT(fault(R"({"prompt": "p", "completion": "c", "label": false})"), HasSubstr("KTO"));
  EXPECT_THAT(fault(R"({"prompt": "p", "completions": ["c"], "labels": [true]})"), HasSubstr("stepwise"));
  EXPECT_THAT(fault(R"({"input_ids": [1, 2]})"), HasSubstr("tokenized already"));
  EXPECT_THAT(fault(R"({"text": "a", "split": "test"})"), HasSubstr("evaluation data ('test')"));
  EXPECT_THAT(fault(R"({"text": "a", "weight": 0})"), HasSubstr("not to be trained on"));
  EXPECT_THAT(fault(R"({"text": "a", "weight": 0.5})"), HasSubstr("'weight' is 0.5"));
  EXPECT_THAT(load_marked(R"({"text": "a", "label": 3, "weight": 1, "split": "train"})"), ElementsAre("<s>[a</s>]"))
      << "a class beside a text is no verdict";
}

TEST_F(RowsTest, ContentThatNoTemplateCarries) {
  EXPECT_THAT(fault(R"({"prompt": "p", "completion": "c", "system": "s"})"), HasSubstr("no place for it"));
  EXPECT_THAT(fault(R"({"prompt": "p", "completion": "c", "images": ["x.png"]})"), HasSubstr("'images'"));
  const auto turns = [](const std::string& turn, const std::string& more = "") {
    return R"({"messages": [{"role": "user", "content": "a"}, )" + turn + "]" + more + "}";
  };
  EXPECT_THAT(fault(turns(R"({"role": "assistant", "content": "b"})", R"(, "tools": [{"name": "f"}])")),
              HasSubstr("'tools'"));
  EXPECT_THAT(fault(turns(R"({"role": "assistant", "content": null, "tool_calls": [{}]})")),
              HasSubstr("turn 2 has 'tool_calls'"));
  EXPECT_THAT(fault(turns(R"({"role": "assistant", "content": "b", "reasoning_content": "c"})")), HasSubstr("turn 2"));
  EXPECT_THAT(fault(turns(R"({"from": "function_call", "value": "{}"})")), HasSubstr("call of a tool"));
  EXPECT_THAT(fault(turns(R"({"role": "assistant", "content": [{"type": "image_url", "image_url": {}}]})")),
              HasSubstr("type 'image_url'"));
  EXPECT_THAT(fault(turns(R"({"role": "assistant", "content": null})")), HasSubstr("turn 2: 'content' is null"));
}

// Null, empty text and empty lists say nothing: exporters write them for every key that some row has.
TEST_F(RowsTest, BlankKeysAreHarmless) {
  EXPECT_THAT(load_marked(R"({"messages": [{"role": "user", "content": "a", "tool_calls": null},
                {"role": "assistant", "content": "b", "tool_calls": [], "weight": null}], "tools": "", "images": []})",
                          "rows.json"),
              ElementsAre("<s>### User:\na\n\n### Assistant:\n[b</s>]"));
  EXPECT_THAT(left_aside(), testing::IsEmpty());
}

TEST_F(RowsTest, IgnoredColumnsAreCounted) {
  options_.ignore_columns = {"label", "tool_calls"};
  EXPECT_THAT(load_marked(R"({"prompt": "p", "completion": "c", "label": true})"), ElementsAre("<s>p[c</s>]"));
  EXPECT_THAT(report_.account().lines().at(0), HasSubstr("as ignore_columns asks"));
  options_.ignore_columns = {"input", "messages", "split"};
  EXPECT_THAT(load_marked(R"({"instruction": "I", "input": "X", "output": "O", "messages": [1], "split": "test"})"),
              ElementsAre("<s>" + render_question("alpaca", "I") + "[O</s>]"))
      << "as if they were missing";
  EXPECT_THAT(left_aside(), ElementsAre("input×1", "messages×1", "split×1"));
}

TEST_F(RowsTest, WeightsMaskTurns) {
  const std::string rows = R"({"messages": [{"role": "user", "content": "a", "weight": 1},
      {"role": "assistant", "content": "bad", "weight": 0}, {"role": "user", "content": "c"},
      {"role": "assistant", "content": "good", "train": true}]})";
  EXPECT_THAT(load_marked(rows, "rows.json"),
              ElementsAre("<s>### User:\na\n\n### Assistant:\nbad</s>### User:\nc\n\n### Assistant:\n[good</s>]"));
  options_.train_on = TrainOn::all;
  EXPECT_THAT(load_marked(rows, "rows.json"),
              ElementsAre("<s>[### User:\na\n\n### Assistant:\n]bad</s>[### User:\nc\n\n### Assistant:\ngood</s>]"));
  options_.train_on = TrainOn::completion;
  EXPECT_THAT(load_marked(R"({"messages": [{"role": "user", "content": "a", "train": true},
      {"role": "assistant", "content": "b", "masked": true}]})",
                          "rows.json"),
              ElementsAre("<s>### User:\n[a]\n\n### Assistant:\nb</s>"));
  EXPECT_THAT(message<DataError>(
                  [&] { load_marked(R"({"messages": [{"role": "assistant", "content": "b", "weight": 0.5}]})"); }),
              HasSubstr("turn 1: 'weight' is 0.5; known are 0"));
}

TEST_F(RowsTest, ConversationsOfOtherPrograms) {
  const std::string expected = "<s>### System:\nS\n\n### User:\na\n\n### Assistant:\n[b</s>]";
  EXPECT_THAT(load_marked(R"({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
                             "system": "S"})",
                          "rows.json"),
              ElementsAre(expected));
  EXPECT_THAT(load_marked(R"({"messages": [{"role": "developer", "content": "S"},
      {"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": ["b"]}]})",
                          "rows.json"),
              ElementsAre(expected));
  EXPECT_THAT(
      load_marked(
          R"({"messages": "[{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]"})"),
      ElementsAre(expected));
  EXPECT_THAT(load_marked(R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}],
                             "completion": [{"role": "assistant", "content": "b"}]})",
                          "rows.json"),
              ElementsAre("<s>### User:\na\n\n### Assistant:\nx</s>### Assistant:\n[b</s>]"));
}

// As LLaMA-Factory reads them: the system prompt stands for the opening sentences, earlier answers carry loss.
TEST_F(RowsTest, AlpacaWithSystemAndHistory) {
  EXPECT_THAT(
      load_marked(R"({"instruction": "I", "input": "X", "output": "O", "system": "S", "history": [["q", "a"]]})"),
      ElementsAre("<s>S\n\n### Instruction:\nq\n\n### Response:[a</s>]\n\n### Instruction:\nI\n\n### Input:\nX\n\n### "
                  "Response:[O</s>]"));
  EXPECT_THAT(left_aside(), testing::IsEmpty());
  EXPECT_THAT(load_marked(R"({"instruction": "I", "output": "O", "system": "", "history": []})"),
              ElementsAre("<s>" + render_question("alpaca", "I") + "[O</s>]"));
  EXPECT_THAT(fault(R"({"instruction": "I", "output": "O", "history": [["q"]]})"), HasSubstr("turn 1 of 'history'"));
}

// One place decides what conversations are written as.
TEST_F(RowsTest, ChatTemplatesAreNotReplacedInSilence) {
  const std::string row = R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})";
  options_.chat_template = "{{ messages }}";
  options_.skip_bad_rows = true;
  EXPECT_THAT(fault(row), AllOf(HasSubstr("--dataset_format messages"), HasSubstr("apply_chat_template")));
  options_.format = DatasetFormat::messages;
  EXPECT_THAT(load_marked(row), ElementsAre("<s>### User:\na\n\n### Assistant:\n[b</s>]"));
  EXPECT_THAT(left_aside(), ElementsAre("chat_template×1"));
  options_.format = DatasetFormat::automatic;
  EXPECT_THAT(load_marked(R"({"text": "a"})"), ElementsAre("<s>[a</s>]"));
  EXPECT_THAT(left_aside(), testing::IsEmpty());
}

TEST_F(RowsTest, NumbersOfPythonsJson) {
  EXPECT_THAT(load_marked("{\"text\": \"NaN\", \"score\": NaN, \"x\": [-Infinity]}"), ElementsAre("<s>[NaN</s>]"));
  EXPECT_THAT(fault("{\"score\": NaN, \"text\": \"a\" \"b\"}"), HasSubstr("rows.jsonl:1:30: malformed JSON"));
  EXPECT_THAT(fault("{\"text\": \"a\", \"x\": 1e999}"),
              AllOf(HasSubstr("1e999"), testing::Not(HasSubstr("json.exception"))));
  EXPECT_THAT(fault("{\"text\": \"\\ud83d half\"}"), HasSubstr("surrogate"));
  EXPECT_THAT(fault("{\"text\": " + std::string(5000, '[') + std::string(5000, ']') + "}"), HasSubstr("nested deeper"));
}

TEST_F(RowsTest, TextFilesAreUtf8) {
  EXPECT_THAT(load_marked("\xEF\xBB\xBFone\r\ntwo\rthree", "a.txt"), ElementsAre("<s>[one\ntwo\rthree</s>]"));
  EXPECT_THAT(message<DataError>([&] { load_marked("one\nCaf\xE9", "a.txt"); }),
              AllOf(HasSubstr("a.txt:2:4: byte 7 (0xE9) isn't UTF-8"), HasSubstr("iconv -f WINDOWS-1252 -t UTF-8")));
  EXPECT_THAT(message<DataError>([&] { load_marked(std::string("\xFF\xFEo\0", 4), "a.txt"); }), HasSubstr("UTF-16LE"));
}

TEST_F(RowsTest, ColumnMapping) {
  options_.column_mapping = {{"prompt", "q"}, {"completion", "reply.text"}};
  EXPECT_THAT(load_marked(R"({"q": "p", "reply": {"text": "c", "by": "x"}, "text": "other"})"),
              ElementsAre("<s>p[c</s>]"));
  EXPECT_THAT(left_aside(), ElementsAre("reply×1", "text×1"));
  EXPECT_THAT(fault(R"({"q": "p"})"), HasSubstr("the row has no column 'reply.text'; it has q"));
}

TEST_F(RowsTest, UnknownColumnsAreOfferedAMapping) {
  const auto offer = [&](const std::string& row) { return fault(row); };
  EXPECT_THAT(offer(R"({"instruction": "a", "context": "", "response": "b", "category": "c"})"),
              HasSubstr("column_mapping \"output=response,input=context\""));
  EXPECT_THAT(offer(R"({"query": "a", "reply": "b"})"), HasSubstr("column_mapping \"prompt=query,completion=reply\""));
  EXPECT_THAT(offer(R"({"body": "a", "id": 1})"), HasSubstr("column_mapping \"text=body\""));
  EXPECT_THAT(offer(R"({"data": {"text": "a"}})"), HasSubstr("column_mapping \"text=data.text\""));
  EXPECT_THAT(offer(R"({"dialog": [{"role": "user", "content": "a"}]})"),
              HasSubstr("column_mapping \"messages=dialog\""));
  EXPECT_THAT(offer(R"({"a": 1})"), HasSubstr("column_mapping \"prompt=…,completion=…\""));
}

}  // namespace
}  // namespace lorica::data
