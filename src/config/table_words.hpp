// Shorthands of the table's rows: lists of accepted words, ranges, names of groups.
#pragma once

#include <initializer_list>

#include "config/option.hpp"

namespace lorica::config {

inline constexpr const char *kRun = "Run", *kModelGroup = "Model", *kQuantization = "Quantization", *kLora = "LoRA",
                            *kDataGroup = "Data", *kEvaluation = "Evaluation", *kOptimization = "Optimization",
                            *kSchedule = "Learning-rate schedule", *kMemory = "Memory", *kSaving = "Saving",
                            *kLogging = "Logging", *kDistributed = "Many devices", *kProfiling = "Profiling",
                            *kControl = "Control adapters, block expansion", *kText = "Text generation",
                            *kFiles = "Input and output", *kPlanning = "Planning",
                            *kPeers = "Options of other programs";

/// quant_type none: no enumerator, but load_in_4bit false by another name (resolve.cpp).
inline constexpr int kNoQuantization = -1;

/// The names of an enumeration's values; further words for some of them; words of features to come.
template <class Enum>
std::vector<Choice> names_of(std::initializer_list<Word<Enum>> synonyms = {},
                             std::initializer_list<const char*> later = {}) {
  std::vector<Choice> all;
  const auto add = [&](const Word<Enum>& word) {
    all.push_back({std::string(word.name), static_cast<int>(word.value), true});
  };
  for (const auto& word : words_of(Enum{})) add(word);
  for (const auto& word : synonyms) add(word);
  for (const char* name : later) all.push_back({name, 0, false});
  return all;
}

/// Words that stand for themselves (of text, number and list options); words of features to come.
inline std::vector<Choice> plain_words(std::initializer_list<const char*> built,
                                       std::initializer_list<const char*> later = {}) {
  std::vector<Choice> all;
  for (const char* name : built) all.push_back({name, 0, true});
  for (const char* name : later) all.push_back({name, 0, false});
  return all;
}

inline std::vector<Choice> dtypes() {
  return names_of<DataType>({{DataType::float32, "fp32"}, {DataType::bfloat16, "bf16"}, {DataType::float16, "fp16"}});
}

inline Range at_least(double low) {
  return {.low = low};
}
inline Range above(double low) {
  return {.low = low, .low_open = true};
}
inline Range between(double low, double high) {
  return {.low = low, .high = high};
}

}  // namespace lorica::config
