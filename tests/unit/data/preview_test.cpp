#include "data/preview.hpp"

#include "data/fixture.hpp"
#include "data/sampler.hpp"

namespace lorica::data {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(DataTest, PreviewMarksWhatCarriesLoss) {
  const auto path = write("rows.jsonl", R"({"prompt": "ab", "completion": "cd"})");
  const auto text = render_preview(load(path), encoder_, 3, false);
  EXPECT_THAT(text, HasSubstr("example 1 of 1 · " + path + ":1 · 6 tokens, 3 carry loss\n<s>|a|b⟦c|d|</s>⟧\n"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

// A line number alone would name every row of such a file alike.
TEST_F(DataTest, PreviewNamesTheRowOfASharedLine) {
  const auto path = write("rows.json", "[{\"text\": \"ab\"}, {\"text\": \"cd\"},\n{\"text\": \"ef\"}]");
  const auto text = render_preview(load(path), encoder_, 3, false);
  for (const auto* origin : {":1: row 1 ·", ":1: row 2 ·", ":2 ·"}) EXPECT_THAT(text, HasSubstr(path + origin));
}

TEST_F(DataTest, PreviewInColor) {
  const auto text =
      render_preview(load(write("rows.jsonl", R"({"prompt": "a", "completion": "b"})")), encoder_, 1, true);
  EXPECT_THAT(text, HasSubstr("\x1b[37ma\x1b[0m\x1b[32mb\x1b[0m\x1b[92m</s>\x1b[0m"));
}

// The data may be hostile: no control sequence of theirs reaches the terminal.
TEST_F(DataTest, PreviewShowsControlCharacters) {
  const auto text =
      render_preview(load(write("rows.jsonl", R"({"text": "a\u001b[2Jb\nc\td\u007f"})")), encoder_, 1, false);
  EXPECT_THAT(text, HasSubstr("\\x1b|[|2|J|b|↵\n|c|→|d|\\x7f"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST_F(DataTest, PreviewShowsLongExamplesByTheirEnds) {
  const auto data = load(write("rows.jsonl", fmt::format("{{\"text\": \"{}end\"}}", std::string(700, 'x'))));
  const auto text = render_preview(data, encoder_, 1, false);
  EXPECT_THAT(text, HasSubstr("⟧ … 449 tokens … ⟦x|"));
  EXPECT_THAT(text, HasSubstr("e|n|d|</s>⟧"));
  EXPECT_LT(text.size(), 1000u);
}

TEST_F(DataTest, PreviewShowsWhereSequencesArePacked) {
  const auto data = load(
      write("rows.jsonl",
            "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"text\": \"\", \"prompt\": \"\", \"completion\": \"cd\"}"));
  BatchSampler sampler(data, {.packing = true, .context_length = 1000, .shuffle = false});
  const auto text = render_micro_batch(sampler.next().micro_batches.at(0), encoder_, false);
  EXPECT_THAT(text, HasSubstr("2 sequences in one micro-batch, 8 tokens, 5 carry loss"));
  EXPECT_THAT(text, HasSubstr("sequence 1 · tokens 0 to 4 · example 0\n<s>|a⟦b|</s>⟧\n"));
  EXPECT_THAT(text, HasSubstr("sequence 2 · tokens 4 to 8 · example 1\n<s>⟦c|d|</s>⟧\n"));
}

}  // namespace
}  // namespace lorica::data
