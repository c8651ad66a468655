// What the data tests share: a tokenizer of bytes, a temporary folder, and short ways to load.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "data/micro_batch.hpp"

namespace lorica::data {

using Ids = std::vector<std::int32_t>;

/// One token a byte (id = byte + 3); "<s>" and "</s>" inside a text are the specials 1 and 2; BOS comes first on
/// request.
class ByteEncoder : public TextEncoder {
 public:
  explicit ByteEncoder(bool has_bos = true, bool has_eos = true) : has_bos_(has_bos), has_eos_(has_eos) {}
  Ids encode(std::string_view text, bool add_special_tokens) const override {
    Ids ids;
    if (add_special_tokens && has_bos_) ids.push_back(1);
    while (!text.empty()) {
      if (text.starts_with("<s>")) {
        ids.push_back(1);
        text.remove_prefix(3);
      } else if (text.starts_with("</s>")) {
        ids.push_back(2);
        text.remove_prefix(4);
      } else {
        ids.push_back(static_cast<unsigned char>(text.front()) + 3);
        text.remove_prefix(1);
      }
    }
    return ids;
  }
  tokenizer::Encoding encode_with_spans(std::string_view text) const override {
    tokenizer::Encoding encoding{encode(text, false), {}};
    std::uint32_t at = 0;
    for (const auto id : encoding.ids) {
      const auto begin = at;
      at += id == 1 ? 3 : id == 2 ? 4 : 1;
      encoding.spans.push_back({begin, at});
    }
    return encoding;
  }
  std::optional<std::string> eos_text() const override {
    return has_eos_ ? std::optional<std::string>("</s>") : std::nullopt;
  }
  std::optional<std::int32_t> bos() const override { return has_bos_ ? std::optional(1) : std::nullopt; }
  std::optional<std::int32_t> eos() const override { return has_eos_ ? std::optional(2) : std::nullopt; }
  std::string display(std::int32_t id) const override {
    return id == 1 ? "<s>" : id == 2 ? "</s>" : std::string(1, static_cast<char>(id - 3));
  }
  std::string content_hash() const override { return has_bos_ ? "bytes" : "bytes without BOS"; }

 private:
  bool has_bos_, has_eos_;
};

inline std::string text_of(std::span<const std::int32_t> ids) {
  std::string text;
  for (const auto id : ids) text += ByteEncoder().display(id);
  return text;
}

/// The example with what carries loss in brackets: "<s>prompt[answer</s>]".
inline std::string marked(const ExampleView& example) {
  std::string text;
  std::size_t at = 0;
  for (const auto& span : example.supervised) {
    text += text_of(example.tokens.subspan(at, span.begin - at));
    text += "[" + text_of(example.tokens.subspan(span.begin, span.end - span.begin)) + "]";
    at = span.end;
  }
  return text + text_of(example.tokens.subspan(at));
}

class DataTest : public testing::Test {
 protected:
  DataTest() {
    auto pattern = (std::filesystem::temp_directory_path() / "lorica-test-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    options_.context_length = 1000;
  }
  ~DataTest() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content) {
    const auto path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
  TokenizedDataset load(const std::string& dataset, const std::string& path = "") {
    options_.sources = {{.dataset = dataset, .path = path}};
    return load_dataset(options_, encoder_, report_);
  }
  /// Writes rows.jsonl and loads it; every example as marked().
  std::vector<std::string> load_marked(const std::string& content, const std::string& name = "rows.jsonl") {
    const auto dataset = load(write(name, content));
    std::vector<std::string> all;
    for (std::int64_t i = 0; i < dataset.size(); ++i) all.push_back(marked(dataset.example(i)));
    return all;
  }
  /// The message of the error that `action` throws; fails if it throws none of that type.
  template <class Error, class Action>
  std::string message(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    ADD_FAILURE() << "no such error was thrown";
    return "";
  }

  std::filesystem::path folder_;
  DataOptions options_;
  DataReport report_;
  ByteEncoder encoder_;
};

}  // namespace lorica::data
