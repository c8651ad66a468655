// The files beside a tokenizer: tokens that only they name, precedence, and the account of what isn't gone by. The
// expected ids are those that transformers 5.23 gives for the same folders (tests/parity/test_tokenizer.py compares
// live).
#include <gmock/gmock.h>

#include "testing_tokenizer.hpp"
#include "tokenizer/generation_config.hpp"

namespace lorica::tokenizer::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FolderTest : public ::testing::Test {
 protected:
  FolderTest() { folder_.write("tokenizer.json", byte_level_json()); }
  Tokenizer load_with(const json& config) {
    folder_.write("tokenizer_config.json", config);
    return Tokenizer::load(folder_.path());
  }
  std::vector<std::string> parts(const Account& account) {
    std::vector<std::string> names;
    for (const auto& entry : account.entries()) names.push_back(entry.part);
    return names;
  }
  Folder folder_;
};

TEST_F(FolderTest, TokensOfTheDecoderAreAddedInOrderOfTheirIds) {
  const auto tokenizer = load_with(
      {{"added_tokens_decoder",
        {{"300", {{"content", "<x>"}, {"lstrip", true}, {"special", true}}}, {"263", {{"content", "<y>"}}}}}});
  EXPECT_EQ(tokenizer.encode("a <x><y>", false), (Ids{'a', 264, 263}));
  EXPECT_TRUE(tokenizer.is_special(264));
  EXPECT_FALSE(tokenizer.is_special(263));
}

TEST_F(FolderTest, AddedTokensJsonIsReadWhereThereIsNoDecoder) {
  folder_.write("added_tokens.json", json{{"<y>", 264}, {"<x>", 263}});
  EXPECT_EQ(load_with(json::object()).encode("<x><y>", false), (Ids{263, 264}));
  const auto older = load_with({{"added_tokens_decoder", json::object()}});
  EXPECT_EQ(older.encode("<x>", false), (Ids{'<', 'x', '>'}));
  EXPECT_THAT(parts(older.account()), ElementsAre("<x>", "<y>"));
}

TEST_F(FolderTest, AnIdThatAnotherTokenHasIsItsOwn) {
  folder_.write("added_tokens.json", json{{"<y>", 262}, {"<x>", 263}});
  const auto tokenizer = load_with(json::object());
  EXPECT_EQ(tokenizer.encode("<x><y>", false), (Ids{263, '<', 'y', '>'}));
  EXPECT_THAT(parts(tokenizer.account()), ElementsAre("<y>"));
}

TEST_F(FolderTest, NamedTokensBecomeTokens) {
  folder_.write("special_tokens_map.json", json{{"eos_token", "<y>"}, {"additional_special_tokens", {"<q>"}}});
  const auto tokenizer = load_with({{"eos_token", "<eos>"}, {"pad_token", {{"content", "<x>"}, {"lstrip", true}}}});
  EXPECT_EQ(tokenizer.eos(), 263);  // special_tokens_map.json goes before tokenizer_config.json
  EXPECT_EQ(tokenizer.pad(), 264);
  EXPECT_EQ(tokenizer.encode("a <x><q>", false), (Ids{'a', 264, 265}));
  EXPECT_TRUE(tokenizer.is_special(263));
}

TEST_F(FolderTest, SpecialTokensAreSplitOnRequest) {
  const auto tokenizer = load_with({{"eos_token", "<eos>"}, {"split_special_tokens", true}});
  EXPECT_EQ(tokenizer.encode("<eos>", false), (Ids{'<', 'e', 'o', 's', '>'}));
  EXPECT_EQ(tokenizer.eos(), 262);
  EXPECT_EQ(tokenizer.eos_text(), std::nullopt);
}

TEST_F(FolderTest, KeysThatAreNotGoneByAreNamed) {
  const auto tokenizer = load_with({{"bos_token", "<bos>"},
                                    {"eos_token", "<eos>"},
                                    {"add_bos_token", true},
                                    {"add_eos_token", false},
                                    {"add_prefix_space", true},
                                    {"model_max_length", 2048},
                                    {"do_lower_case", true}});
  EXPECT_THAT(parts(tokenizer.account()), ElementsAre("do_lower_case", "add_bos_token", "add_prefix_space"));
  EXPECT_THAT(load_with({{"bos_token", "<bos>"}, {"add_bos_token", false}}).account().lines(), IsEmpty());
}

TEST_F(FolderTest, TheHashKnowsTokensOfAllFiles) {
  const auto before = load_with(json::object()).content_hash();
  folder_.write("added_tokens.json", json{{"<x>", 263}});
  EXPECT_NE(load_with(json::object()).content_hash(), before);
}

TEST_F(FolderTest, AFolderWithoutATokenizerSaysWhatToDo) {
  const Folder folder;
  const auto error = [&] {
    try {
      Tokenizer::load(folder.path());
    } catch (const DataError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(error(), HasSubstr("Copy the tokenizer.json"));
  folder.write("vocab.json", json::object());
  EXPECT_THAT(error(), HasSubstr("AutoTokenizer.from_pretrained"));
  folder.write("adapter_config.json", json::object());
  EXPECT_THAT(error(), HasSubstr("--adapter"));
}

TEST_F(FolderTest, GenerationConfigNamesEndsAndTheRest) {
  EXPECT_THAT(read_generation_config(folder_.path()).eos_ids, IsEmpty());
  folder_.write("generation_config.json", json{{"eos_token_id", {262, 3}}, {"temperature", 0.6}, {"use_cache", true}});
  const auto config = read_generation_config(folder_.path());
  EXPECT_THAT(config.eos_ids, ElementsAre(262, 3));
  EXPECT_THAT(parts(config.account), ElementsAre("temperature"));
  folder_.write("generation_config.json", json{{"eos_token_id", "x"}});
  EXPECT_THROW(read_generation_config(folder_.path()), DataError);
}

}  // namespace
}  // namespace lorica::tokenizer::testing
