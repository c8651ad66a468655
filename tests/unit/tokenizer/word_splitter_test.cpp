// The hand-written scanners against the regular expressions that they stand for, on seeded random text.
#include "tokenizer/word_splitter.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {
namespace {

/// Text made of what the patterns treat differently, and now and then of any code point.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts = {"'s",     "'S", "'ll",    "'Ve",    "'\u017f", "'",          "\"",
                                                 "a",      "Z",  "\u00e9", "\u01c5", "\u02b0",  "\u4e2d",     "\u0300",
                                                 "\u093e", "1",  "23",     "\u00b2", "\u2167",  " ",          "  ",
                                                 "\t",     "\n", "\r\n",   "\r",     "\u00a0",  "\u3000",     "\u0085",
                                                 "/",      "//", ".",      "_",      "\u2026",  "\U0001F600", "\u200d"};
  std::string text;
  const std::size_t count = random() % 24;
  for (std::size_t i = 0; i < count; ++i) {
    if (random() % 6 == 0) {
      char32_t c = random() % (kLastCodePoint + 1);
      if (c >= 0xD800 && c < 0xE000) c = 'x';
      append_utf8(text, random() % 2 ? c : c % 0x3000);
    } else {
      text += parts[random() % parts.size()];
    }
  }
  return text;
}

class WordSplitterTest : public ::testing::TestWithParam<WordSplitter> {};

TEST_P(WordSplitterTest, EqualsItsRegularExpression) {
  const Regex regex(pattern_of(GetParam()), "test");
  std::mt19937 random(static_cast<unsigned>(GetParam()) + 11);
  std::vector<Span> fast, slow;
  for (int round = 0; round < 30'000; ++round) {
    const std::string text = random_text(random);
    fast.clear();
    slow.clear();
    split_words(GetParam(), text, fast);
    regex.find_all(text, slow);
    ASSERT_EQ(fast, slow) << text;
  }
}

TEST_P(WordSplitterTest, IsFoundByItsPattern) {
  EXPECT_EQ(word_splitter_of(pattern_of(GetParam())), GetParam());
  EXPECT_EQ(word_splitter_of(std::string(pattern_of(GetParam())) + "|x"), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(All, WordSplitterTest,
                         ::testing::Values(WordSplitter::kGpt2, WordSplitter::kLlama3, WordSplitter::kQwen2,
                                           WordSplitter::kTekken));

}  // namespace
}  // namespace lorica::tokenizer
