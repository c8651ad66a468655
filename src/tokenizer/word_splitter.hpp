// Hand-written scanners for the split patterns of the model families that we train, many times faster than the regular
// expression.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/regex.hpp"

namespace lorica::tokenizer {

/// The pattern of GPT-2, which the ByteLevel pre-tokenizer uses by itself.
extern const std::string_view kGpt2Pattern;

enum class WordSplitter { kGpt2, kLlama3, kQwen2, kTekken };

/// The scanner that equals this regular expression (with behaviour Isolated), if there is one.
std::optional<WordSplitter> word_splitter_of(std::string_view pattern);
/// The regular expression that a scanner stands for: the oracle of its tests.
std::string_view pattern_of(WordSplitter splitter);

/// Appends the words of `text` (valid UTF-8); they cover it without gaps.
void split_words(WordSplitter splitter, std::string_view text, std::vector<Span>& words);

}  // namespace lorica::tokenizer
