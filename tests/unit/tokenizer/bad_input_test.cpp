// Tokenizer files are untrusted: each fault is a DataError that names what and where, and nothing crashes.
#include <random>

#include "base/hash.hpp"
#include "testing_tokenizer.hpp"

namespace lorica::tokenizer::testing {
namespace {

using ::testing::Test;

void expect_error(const json& document, const std::vector<std::string>& parts) {
  const std::string message = load_error(document);
  EXPECT_FALSE(message.empty()) << "loaded without complaint";
  for (const std::string& part : parts)
    EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
}

json changed(const std::string& pointer, const json& value) {
  json document = byte_level_json();
  document[json::json_pointer(pointer)] = value;
  return document;
}

TEST(BadTokenizer, MissingFiles) {
  EXPECT_THROW(Tokenizer::load("/nonexistent/model"), DataError);
  const Folder folder;
  try {
    Tokenizer::load(folder.path());
    FAIL();
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("neither a tokenizer.json nor a tokenizer.model"), std::string::npos);
  }
}

TEST(BadTokenizer, NotJson) {
  const Folder folder;
  for (const std::string text : {"", "{", "[1,2", "\"\\ud800\"", "{\"model\": \xFF}"}) {
    folder.write("tokenizer.json", text);
    EXPECT_THROW(Tokenizer::load(folder.path()), DataError) << text;
  }
  folder.write("tokenizer.json", byte_level_json());
  folder.write("tokenizer_config.json", std::string("{\"bos_token\": 5}"));
  EXPECT_THROW(Tokenizer::load(folder.path()), DataError);
  folder.write("tokenizer_config.json", std::string("{"));
  EXPECT_THROW(Tokenizer::load(folder.path()), DataError);
}

TEST(BadTokenizer, UnsupportedComponentsAreNamed) {
  expect_error(changed("/model", {{"type", "WordPiece"}, {"vocab", json::object()}}),
               {"tokenizer.json", "model.type", "WordPiece"});
  expect_error(changed("/model", {{"type", "WordLevel"}, {"vocab", json::object()}}), {"WordLevel"});
  expect_error(changed("/normalizer", {{"type", "BertNormalizer"}}), {"normalizer", "BertNormalizer"});
  expect_error(changed("/pre_tokenizer", {{"type", "UnicodeScripts"}}), {"pre_tokenizer", "UnicodeScripts"});
  expect_error(changed("/post_processor", {{"type", "Odd"}}), {"post_processor", "Odd"});
  expect_error(changed("/decoder", {{"type", "WordPiece"}}), {"decoder", "WordPiece"});
  expect_error(changed("/model/dropout", 0.1), {"model.dropout", "0.1"});
  expect_error(changed("/version", "2.0"), {"version"});
}

TEST(BadTokenizer, WrongTypesNameTheirPlace) {
  expect_error(json::array(), {"tokenizer.json"});
  expect_error(changed("/model/vocab/he", "x"), {"model.vocab", "he"});
  expect_error(changed("/model/vocab/he", -1), {"model.vocab", "-1"});
  expect_error(changed("/model/vocab/he", 4000000000LL), {"4000000000"});
  expect_error(changed("/model/vocab/he", 18446744073709551615ULL), {"model.vocab"});
  expect_error(changed("/model/vocab/he", 1.5), {"model.vocab"});
  expect_error(changed("/model/vocab", nullptr), {"model.vocab"});
  expect_error(changed("/model/merges", nullptr), {"model"});
  expect_error(changed("/model/merges/0", "h e l"), {"model.merges[0]"});
  expect_error(changed("/model/merges/0", json::array({"h"})), {"model.merges[0]"});
  expect_error(changed("/model/merges/1", json::array({"h", "zzz"})), {"model.merges[1]", "hzzz"});
  expect_error(changed("/model/byte_fallback", 1), {"model.byte_fallback", "true or false"});
  expect_error(changed("/added_tokens/0/content", 7), {"added_tokens[0].content"});
  expect_error(changed("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", 3}}}}}),
               {"pretokenizers[0].type"});
  expect_error(changed("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}), {"replacement"});
  expect_error(changed("/post_processor", {{"type", "BertProcessing"}, {"cls", {"x", 9999}}, {"sep", {"y", 1}}}),
               {"9999"});
}

TEST(BadTokenizer, DeepNestingIsRefused) {
  json nested = {{"type", "NFC"}};
  for (int i = 0; i < 1000; ++i) nested = {{"type", "Sequence"}, {"normalizers", json::array({nested})}};
  expect_error(changed("/normalizer", nested), {"too deep"});
}

TEST(BadTokenizer, BadRegularExpressions) {
  for (const char* pattern :
       {"(", "[a", "a)", "\\", "\\p{Nonsense}", "[z-a]", "\\xFF", "(?q)", "[\\p{L]", "\\g<1>", "[[:graph:]]"}) {
    expect_error(
        changed("/pre_tokenizer",
                {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}}),
        {"pre_tokenizer.pattern.Regex"});
  }
}

TEST(BadTokenizer, BacktrackingWithoutEndIsAnErrorNotAHang) {
  json document = byte_level_json();
  document["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(?:a|a)*[bc]"}}}, {"behavior", "Isolated"}, {"invert", false}};
  EXPECT_THROW(load(document).encode(std::string(200, 'a'), false), DataError);
}

TEST(BadTokenizer, DamagedCharacterMaps) {
  for (const char* map : {"", "AAAA", "////", "BAAAAP//////", "!!!", "CAAAAAAAAAAAAAAA"}) {
    json document = byte_level_json();
    document["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", map}};
    try {
      load(document).encode("a\u00e9\u4e2d", false);  // either refused, or harmless
    } catch (const DataError&) {
    }
  }
  expect_error(changed("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "!!!"}}), {"base64"});
  expect_error(changed("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "////"}}), {"truncated"});
}

TEST(BadTokenizer, DamagedSentencePieceFiles) {
  const Folder folder;
  const std::vector<std::string> files = {"",
                                          "\x0a\xff",
                                          "\x0a\x05hello",
                                          "IQ== 0\nIg== 1\n",
                                          std::string(40, '\xff'),
                                          std::string(1, '\0'),
                                          "\x0a\x03\x0a\x01\xff",
                                          "\x0a\x02\x0a"};
  for (const std::string& bytes : files) {
    folder.write("tokenizer.model", bytes);
    EXPECT_THROW(Tokenizer::load(folder.path()), DataError) << bytes;
  }
}

TEST(BadTokenizer, RandomDamageNeverCrashes) {
  const std::string good = byte_level_json().dump();
  std::mt19937 random(7);
  const Folder folder;
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    for (int i = 0; i < 3; ++i) bad[random() % bad.size()] = static_cast<char>("{}[]\",:0a-\\\xff"[random() % 12]);
    folder.write("tokenizer.json", bad);
    try {
      Tokenizer::load(folder.path()).encode("hello <bos> \xff world", true);
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 30);
}

}  // namespace
}  // namespace lorica::tokenizer::testing
