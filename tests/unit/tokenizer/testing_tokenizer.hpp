// Small tokenizers for the unit tests: written as JSON to a temporary folder and loaded from there.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/files.hpp"
#include "tokenizer/byte_level.hpp"
#include "tokenizer/tokenizer.hpp"

namespace lorica::tokenizer::testing {

using nlohmann::json;
using Ids = std::vector<TokenId>;

/// A folder that lives as long as the test.
class Folder {
 public:
  Folder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() / fmt::format("lorica_tokenizer_{}_{}_{}", test->test_suite_name(),
                                                                 test->name(), static_cast<const void*>(this));
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& content) const { write_file(path_ / name, content); }
  void write(const std::string& name, const json& content) const { write(name, content.dump()); }

 private:
  std::filesystem::path path_;
};

/// Loads a tokenizer.json.
inline Tokenizer load(const json& document) {
  const Folder folder;
  folder.write("tokenizer.json", document);
  return Tokenizer::load(folder.path());
}

/// What loading says is wrong; "" if nothing is.
inline std::string load_error(const json& document) {
  try {
    load(document);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

inline json added(int id, const std::string& content, bool special = true) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

/// Byte-level BPE as in Llama 3 and Qwen: the 256 bytes (id = byte), "he" 256, "ll" 257, "hell" 258, "hello" 259, " w"
/// 260; special tokens <bos> 261 and <eos> 262.
inline json byte_level_json() {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[byte_character(static_cast<unsigned char>(byte))] = byte;
  vocab["he"] = 256, vocab["ll"] = 257, vocab["hell"] = 258, vocab["hello"] = 259, vocab["\u0120w"] = 260;
  const json merges = json::array({json::array({"h", "e"}), json::array({"l", "l"}), json::array({"he", "ll"}),
                                   json::array({"hell", "o"}), json::array({"\u0120", "w"})});
  return {{"version", "1.0"},
          {"added_tokens", json::array({added(261, "<bos>"), added(262, "<eos>")})},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

/// Each character of `alphabet` (UTF-8) is a token of its own; no merges.
inline json characters_json(const std::string& alphabet) {
  json vocab = json::object();
  for (std::size_t at = 0; at < alphabet.size();) {
    const auto lead = static_cast<unsigned char>(alphabet[at]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    vocab[alphabet.substr(at, length)] = vocab.size();
    at += length;
  }
  return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
}

}  // namespace lorica::tokenizer::testing
