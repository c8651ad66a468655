// Where each token stands in the text: the cases that decide labels, worked out by hand. tests/parity/test_tokenizer.py
// compares with `tokenizers` on thousands of texts.
#include "testing_tokenizer.hpp"

namespace lorica::tokenizer::testing {
namespace {

using Spans = std::vector<TextSpan>;

Spans spans(const Tokenizer& tokenizer, std::string_view text) {
  const auto encoding = tokenizer.encode_with_spans(text, false);
  EXPECT_EQ(encoding.ids, tokenizer.encode(text, false));
  EXPECT_EQ(encoding.ids.size(), encoding.spans.size());
  return encoding.spans;
}

/// As Llama 2's tokenizer.json has it: "▁" before each text, and for each space.
json llama_json() {
  json document = characters_json("ab\u2581");
  document["model"]["vocab"]["\u2581a"] = 3;
  document["model"]["merges"] = json::array({json::array({"\u2581", "a"})});
  document["normalizer"] = {{"type", "Sequence"},
                            {"normalizers",
                             {{{"type", "Prepend"}, {"prepend", "\u2581"}},
                              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}};
  document["added_tokens"] = json::array({added(4, "<eos>")});
  return document;
}

TEST(Spans, ByteLevelTokensStandWhereTheirBytesDo) {
  const Tokenizer tokenizer = load(byte_level_json());
  EXPECT_EQ(spans(tokenizer, "hello w<eos>a"), (Spans{{0, 5}, {5, 7}, {7, 12}, {12, 13}}));
}

TEST(Spans, BytesOfOneCharacterHaveAllOfIt) {
  const Tokenizer tokenizer = load(byte_level_json());
  EXPECT_EQ(spans(tokenizer, "a\u00e9b"), (Spans{{0, 1}, {1, 3}, {1, 3}, {3, 4}}));
}

TEST(Spans, ThePrefixSpaceStandsForTheFirstCharacter) {
  json document = byte_level_json();
  document["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_EQ(spans(load(document), "w he"), (Spans{{0, 1}, {1, 2}, {2, 4}}));
}

TEST(Spans, SpacesThatANormalizerWrites) {
  const Tokenizer tokenizer = load(llama_json());
  EXPECT_EQ(spans(tokenizer, "a ab"), (Spans{{0, 1}, {1, 3}, {3, 4}}));
  EXPECT_EQ(spans(tokenizer, "b<eos>b"), (Spans{{0, 1}, {0, 1}, {1, 6}, {6, 7}, {6, 7}}));
}

TEST(Spans, MalformedBytesAreCountedAsTheyStand) {
  EXPECT_EQ(spans(load(byte_level_json()),
                  "a\xFF"
                  "b"),
            (Spans{{0, 1}, {1, 2}, {1, 2}, {1, 2}, {2, 3}}));
}

TEST(Spans, UnknownCharactersAndBytesOfThem) {
  json document = characters_json("ab");
  auto& model = document["model"];
  model["vocab"]["<unk>"] = 2, model["vocab"]["<0xC3>"] = 3, model["vocab"]["<0xA9>"] = 4;
  model["unk_token"] = "<unk>", model["fuse_unk"] = true, model["byte_fallback"] = true;
  const Tokenizer tokenizer = load(document);
  EXPECT_EQ(spans(tokenizer, "a\u00e9b"), (Spans{{0, 1}, {1, 3}, {1, 3}, {3, 4}}));
  EXPECT_EQ(spans(tokenizer, "axyzb"), (Spans{{0, 1}, {1, 4}, {4, 5}}));
}

TEST(Spans, UnigramPartsAndUnknownOnes) {
  const json vocab = json::array({json::array({"<unk>", 0.0}), json::array({"a", -1.0}), json::array({"ba", -0.2})});
  const Tokenizer tokenizer = load({{"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocab}}}});
  EXPECT_EQ(spans(tokenizer, "aba"), (Spans{{0, 1}, {1, 3}}));
  EXPECT_EQ(spans(tokenizer, "xyba"), (Spans{{0, 2}, {2, 4}}));
}

TEST(Spans, ComposedCharactersStandForBothParts) {
  json document = characters_json("a\u00e9");
  document["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(spans(load(document), "ae\u0301a"), (Spans{{0, 1}, {1, 4}, {4, 5}}));
}

TEST(Spans, SpecialTokensAroundAreEmpty) {
  json document = byte_level_json();
  document["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", json::array({{{"SpecialToken", {{"id", "<bos>"}, {"type_id", 0}}}},
                              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}})},
      {"pair", json::array()},
      {"special_tokens", {{"<bos>", {{"id", "<bos>"}, {"ids", {261}}, {"tokens", {"<bos>"}}}}}}};
  EXPECT_EQ(load(document).encode_with_spans("hello", true).spans, (Spans{{0, 0}, {0, 5}}));
}

}  // namespace
}  // namespace lorica::tokenizer::testing
