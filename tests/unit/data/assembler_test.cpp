// Labels by the place of tokens: a tokenizer whose tokens reach over the edges of segments.
#include "data/assembler.hpp"

#include "fixture.hpp"

namespace lorica::data {
namespace {

/// A token is a word with the spaces before it (its length is the id), BOS (100) comes first; "</s>" (200) ends a text.
class WordEncoder : public TextEncoder {
 public:
  explicit WordEncoder(bool eos_in_text) : eos_in_text_(eos_in_text) {}
  Ids encode(std::string_view text, bool add_special_tokens) const override {
    auto ids = encode_with_spans(text).ids;
    if (add_special_tokens) ids.insert(ids.begin(), 100);
    return ids;
  }
  tokenizer::Encoding encode_with_spans(std::string_view text) const override {
    tokenizer::Encoding encoding;
    for (std::size_t at = 0; at < text.size();) {
      auto end = text.find_first_not_of(' ', at);
      const bool eos = eos_in_text_ && text.substr(at).starts_with("</s>");
      end = eos ? at + 4 : text.find_first_of(" <", std::min(end, text.size() - 1) + 1);
      end = std::min(end, text.size());
      encoding.ids.push_back(eos ? 200 : static_cast<std::int32_t>(end - at));
      encoding.spans.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(end)});
      at = end;
    }
    return encoding;
  }
  std::optional<std::int32_t> bos() const override { return 100; }
  std::optional<std::int32_t> eos() const override { return 200; }
  std::optional<std::string> eos_text() const override {
    return eos_in_text_ ? std::optional<std::string>("</s>") : std::nullopt;
  }
  std::string display(std::int32_t id) const override { return std::to_string(id); }
  std::string content_hash() const override { return "words"; }

 private:
  bool eos_in_text_;
};

AssembledRow assemble(const std::vector<Segment>& segments, bool eos_in_text = true, DataOptions options = {}) {
  const WordEncoder encoder(eos_in_text);
  return Assembler(options, encoder).assemble(segments);
}

Segment completion(std::string text) {
  return {.text = std::move(text), .supervised = true, .ends_turn = true};
}

TEST(Assembler, TheWholeTextIsTokenizedAsOne) {
  const auto row = assemble({{.text = "the cap"}, completion("ital is")});
  ASSERT_EQ(row.examples.size(), 1u);
  // "capital" has bytes of both sides and carries loss: else "ital" would never be learned.
  EXPECT_EQ(row.examples[0].tokens, (Ids{100, 3, 8, 3, 200}));
  EXPECT_EQ(row.examples[0].supervised, (std::vector<Span>{{2, 5}}));
}

TEST(Assembler, ACompletionAfterASpaceKeepsItsFirstWord) {
  const auto row = assemble({{.text = "a: "}, completion("yes")});
  EXPECT_EQ(row.examples.at(0).tokens, (Ids{100, 2, 4, 200}));
  EXPECT_EQ(row.examples.at(0).supervised, (std::vector<Span>{{2, 4}}));
}

TEST(Assembler, WhereNoTextStandsForEosItsIdIsPutIn) {
  for (const bool in_text : {true, false}) {
    const auto row = assemble({{.text = "q"}, completion(" a"), {.text = "q2"}, completion(" a2")}, in_text);
    EXPECT_EQ(row.examples.at(0).tokens, (Ids{100, 1, 2, 200, 2, 3, 200})) << in_text;
    EXPECT_EQ(row.examples.at(0).supervised, (std::vector<Span>{{2, 4}, {5, 7}})) << in_text;
  }
}

TEST(Assembler, ATerminatorInTheTextIsNotDoubled) {
  EXPECT_EQ(assemble({{.text = "q"}, completion(" a</s>")}).examples.at(0).tokens, (Ids{100, 1, 2, 200}));
}

TEST(Assembler, EmptyTexts) {
  EXPECT_EQ(assemble({completion("")}).fate, AssembledRow::Fate::empty);
  EXPECT_EQ(assemble({{.text = ""}, completion("")}, false).fate, AssembledRow::Fate::empty);
  const auto row = assemble({{.text = "q"}, completion("")});
  EXPECT_EQ(row.examples.at(0).tokens, (Ids{100, 1, 200}));
  EXPECT_EQ(row.examples.at(0).supervised, (std::vector<Span>{{2, 3}}));
}

TEST(Assembler, PromptsHaveTheTokensOfTraining) {
  const WordEncoder encoder(true);
  EXPECT_EQ(encode_prompt(encoder, "the capital"), (Ids{100, 3, 8}));
  const ByteEncoder bytes;
  EXPECT_EQ(encode_prompt(bytes, "<s>a"), (Ids{1, 'a' + 3}));
  const ByteEncoder without(false);
  EXPECT_EQ(encode_prompt(without, "a"), (Ids{'a' + 3}));
}

}  // namespace
}  // namespace lorica::data
