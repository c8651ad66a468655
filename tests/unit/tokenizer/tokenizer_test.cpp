// The public class on small tokenizers whose ids can be worked out by hand.
#include "tokenizer/tokenizer.hpp"

#include "testing_tokenizer.hpp"

namespace lorica::tokenizer::testing {
namespace {

TEST(Tokenizer, MergesByRank) {
  const Tokenizer tokenizer = load(byte_level_json());
  EXPECT_EQ(tokenizer.encode("hello world", false), (Ids{259, 260, 'o', 'r', 'l', 'd'}));
  EXPECT_EQ(tokenizer.encode("hell hel", false), (Ids{258, ' ', 256, 'l'}));
  EXPECT_EQ(tokenizer.encode("", true), Ids{});
}

TEST(Tokenizer, LongWordsGiveTheSameAsShortOnes) {
  // 48 symbols and more go through the heap, fewer are scanned: both must merge in the same order.
  const Tokenizer tokenizer = load(byte_level_json());
  std::string text;
  Ids expected;
  for (int i = 0; i < 40; ++i) {
    text += "helloehelll";
    for (const TokenId id : {259, int{'e'}, 258, int{'l'}}) expected.push_back(id);
  }
  EXPECT_EQ(tokenizer.encode(text, false), expected);
}

TEST(Tokenizer, SpecialTokensInsideTheText) {
  const Tokenizer tokenizer = load(byte_level_json());
  EXPECT_EQ(tokenizer.encode("<bos>hello<eos>", false), (Ids{261, 259, 262}));
  EXPECT_EQ(tokenizer.encode("<bo", false), (Ids{'<', 'b', 'o'}));
  EXPECT_TRUE(tokenizer.is_special(261));
  EXPECT_FALSE(tokenizer.is_special(259));
  EXPECT_EQ(tokenizer.vocabulary_size(), 263);
  EXPECT_EQ(tokenizer.token(259), "hello");
  EXPECT_EQ(tokenizer.id("<eos>"), 262);
  EXPECT_EQ(tokenizer.token(263), std::nullopt);
  EXPECT_EQ(tokenizer.token(-1), std::nullopt);
  EXPECT_EQ(tokenizer.id("absent"), std::nullopt);
}

TEST(Tokenizer, MalformedUtf8BecomesReplacementCharacters) {
  const Tokenizer tokenizer = load(byte_level_json());
  const auto ids = [&](std::string_view text) { return tokenizer.decode(tokenizer.encode(text, false), false); };
  EXPECT_EQ(ids("a\xFF"
                "b"),
            "a\uFFFDb");
  EXPECT_EQ(ids("\xE4\xB8"), "\uFFFD");                            // a truncated character is one maximal subpart
  EXPECT_EQ(ids("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate is three
  EXPECT_EQ(ids("\xC0\xAF"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(ids("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(ids("\xF0\x9F\x92z"), "\uFFFDz");
}

// A double BOS. The template adds exactly one, and only when asked.
TEST(Tokenizer, TemplateAddsOneBosB6) {
  json document = byte_level_json();
  document["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", json::array({{{"SpecialToken", {{"id", "<bos>"}, {"type_id", 0}}}},
                              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}})},
      {"pair", json::array()},
      {"special_tokens", {{"<bos>", {{"id", "<bos>"}, {"ids", {261}}, {"tokens", {"<bos>"}}}}}}};
  const Tokenizer tokenizer = load(document);
  EXPECT_EQ(tokenizer.encode("hello", true), (Ids{261, 259}));
  EXPECT_EQ(tokenizer.encode("hello", false), (Ids{259}));
}

TEST(Tokenizer, BatchEqualsOneByOne) {
  const Tokenizer tokenizer = load(byte_level_json());
  std::vector<std::string> texts;
  for (int i = 0; i < 500; ++i)
    texts.push_back(std::string(static_cast<std::size_t>(i % 70), 'h') + "hello " + std::to_string(i * 7919));
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto batch = tokenizer.encode_batch(views, true);
  ASSERT_EQ(batch.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(batch[i], tokenizer.encode(texts[i], true)) << i;
}

TEST(Tokenizer, TwoTokenizersOnOneThreadDoNotShareWords) {
  json other = byte_level_json();
  other["model"]["merges"] = json::array();
  const Tokenizer a = load(byte_level_json()), b = load(other);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(a.encode("hello", false), (Ids{259}));
    EXPECT_EQ(b.encode("hello", false), (Ids{'h', 'e', 'l', 'l', 'o'}));
  }
}

TEST(Tokenizer, DecodingAnUnknownIdIsAnError) {
  const Tokenizer tokenizer = load(byte_level_json());
  EXPECT_EQ(tokenizer.decode({261, 259, 262}, true), "hello");
  EXPECT_EQ(tokenizer.decode({261, 259, 262}, false), "<bos>hello<eos>");
  EXPECT_THROW(tokenizer.decode({259, 300}, false), DataError);
  EXPECT_THROW(tokenizer.decode({-1}, false), DataError);
}

TEST(Tokenizer, StreamNeverShowsHalfACharacter) {
  const Tokenizer tokenizer = load(byte_level_json());
  const std::string text = "h\u00e9llo \u4e2d\u6587 \U0001F600!";
  StreamDecoder decoder(tokenizer, false);
  std::string shown;
  for (const TokenId id : tokenizer.encode(text, false)) {
    const std::string fresh = decoder.add(id);
    EXPECT_EQ(fresh.find("\uFFFD"), std::string::npos);
    shown += fresh;
    EXPECT_TRUE(text.starts_with(shown));
  }
  EXPECT_EQ(shown + decoder.finish(), text);
  EXPECT_EQ(decoder.add(0xE4), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
}

TEST(Tokenizer, StreamKeepsSpacesOfMetaspace) {
  json document = characters_json("ab\u2581");
  document["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "always"}, {"split", true}};
  document["decoder"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "always"}};
  const Tokenizer tokenizer = load(document);
  StreamDecoder decoder(tokenizer, false);
  std::string shown;
  for (const TokenId id : tokenizer.encode("a b ab", false)) shown += decoder.add(id);
  EXPECT_EQ(shown + decoder.finish(), "a b ab");
}

TEST(Tokenizer, RolesComeFromTheFilesBeside) {
  const Folder folder;
  folder.write("tokenizer.json", byte_level_json());
  folder.write("tokenizer_config.json", json{{"bos_token", {{"content", "<bos>"}}}, {"chat_template", "T"}});
  folder.write("special_tokens_map.json", json{{"eos_token", "<eos>"}, {"bos_token", "<eos>"}});
  folder.write("config.json", json{{"eos_token_id", 5}, {"pad_token_id", json::array({7, 8})}});
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.bos(), 262);  // special_tokens_map.json goes before tokenizer_config.json
  EXPECT_EQ(tokenizer.eos(), 262);
  EXPECT_EQ(tokenizer.pad(), 7);
  EXPECT_EQ(tokenizer.chat_template(), "T");
  folder.write("chat_template.jinja", std::string("J"));
  EXPECT_EQ(Tokenizer::load(folder.path() / "tokenizer.json").chat_template(), "J");
  EXPECT_EQ(load(byte_level_json()).bos(), std::nullopt);
}

TEST(Tokenizer, ContentHashChangesWithWhatChangesIds) {
  json other = byte_level_json();
  other["added_tokens"].push_back(added(263, "<x>"));
  EXPECT_EQ(load(byte_level_json()).content_hash(), load(byte_level_json()).content_hash());
  EXPECT_NE(load(byte_level_json()).content_hash(), load(other).content_hash());
  EXPECT_EQ(load(other).content_hash().size(), 32u);
}

TEST(Tokenizer, WhitespaceOfAddedTokens) {
  json document = byte_level_json();
  document["added_tokens"][0]["lstrip"] = true;
  document["added_tokens"][0]["rstrip"] = true;
  document["added_tokens"][1]["single_word"] = true;
  const Tokenizer tokenizer = load(document);
  EXPECT_EQ(tokenizer.encode("a \n<bos> \tb", false), (Ids{'a', 261, 'b'}));
  EXPECT_EQ(tokenizer.encode("a<eos>", false), (Ids{'a', '<', 'e', 'o', 's', '>'}));
  EXPECT_EQ(tokenizer.encode("a <eos>,", false), (Ids{'a', ' ', 262, ','}));
}

TEST(Tokenizer, ByteFallbackAndFusedUnknown) {
  json document = characters_json("ab");
  auto& model = document["model"];
  model["vocab"]["<unk>"] = 2, model["vocab"]["<0xC3>"] = 3, model["vocab"]["<0xA9>"] = 4;
  model["unk_token"] = "<unk>", model["fuse_unk"] = true, model["byte_fallback"] = true;
  const Tokenizer tokenizer = load(document);
  EXPECT_EQ(tokenizer.encode("a\u00e9b", false), (Ids{0, 3, 4, 1}));
  EXPECT_EQ(tokenizer.encode("axyzb", false), (Ids{0, 2, 1}));
  model["unk_token"] = "absent";
  EXPECT_THROW(load(document).encode("axb", false), DataError);
}

TEST(Tokenizer, UnigramTakesTheBestSum) {
  const json vocab = json::array({json::array({"<unk>", 0.0}), json::array({"a", -1.0}), json::array({"b", -1.0}),
                                  json::array({"ab", -1.5}), json::array({"ba", -0.2}), json::array({"aba", -3.0})});
  const Tokenizer tokenizer = load({{"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocab}}}});
  EXPECT_EQ(tokenizer.encode("aba", false), (Ids{1, 4}));
  EXPECT_EQ(tokenizer.encode("ab", false), (Ids{3}));
  EXPECT_EQ(tokenizer.encode("xyab", false), (Ids{0, 3}));
}

}  // namespace
}  // namespace lorica::tokenizer::testing
