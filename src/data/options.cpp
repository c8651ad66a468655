// Names of the data options' choices.
#include "data/options.hpp"

#include <array>
#include <utility>

#include "base/error.hpp"
#include "base/strings.hpp"

namespace lorica::data {
namespace {

template <class Value, std::size_t N>
using Names = std::array<std::pair<Value, std::string_view>, N>;

constexpr Names<RowFormat, 8> kRowFormats = {{{RowFormat::automatic, "auto"},
                                              {RowFormat::text, "text"},
                                              {RowFormat::instruction, "instruction"},
                                              {RowFormat::prompt_completion, "prompt_completion"},
                                              {RowFormat::question_answer, "question_answer"},
                                              {RowFormat::context_question, "context_question"},
                                              {RowFormat::human_assistant, "human_assistant"},
                                              {RowFormat::messages, "messages"}}};

constexpr Names<Truncation, 4> kTruncations = {{{Truncation::truncate, "truncate"},
                                                {Truncation::drop, "drop"},
                                                {Truncation::error, "error"},
                                                {Truncation::split, "split"}}};

constexpr Names<LossOn, 2> kLossOn = {{{LossOn::completions, "completion"}, {LossOn::everything, "all"}}};

template <class Value, std::size_t N>
std::string_view name_of(const Names<Value, N>& names, Value value) {
  for (const auto& [candidate, text] : names) {
    if (candidate == value) return text;
  }
  raise<Error>("internal error: a value without a name");
}

template <class Value, std::size_t N>
Value parse(const Names<Value, N>& names, std::string_view what, std::string_view text) {
  std::vector<std::string> choices;
  for (const auto& [value, candidate] : names) {
    if (candidate == text) return value;
    choices.emplace_back(candidate);
  }
  raise<ConfigError>("{}: '{}' is none of {}", what, text, join(choices, ", "));
}

}  // namespace

std::string_view name(RowFormat format) {
  return name_of(kRowFormats, format);
}
std::string_view name(Truncation truncation) {
  return name_of(kTruncations, truncation);
}
std::string_view name(LossOn loss_on) {
  return name_of(kLossOn, loss_on);
}

RowFormat parse_row_format(std::string_view text) {
  return parse(kRowFormats, "dataset_format", text);
}
Truncation parse_truncation(std::string_view text) {
  return parse(kTruncations, "truncation", text);
}
LossOn parse_loss_on(std::string_view text) {
  return parse(kLossOn, "train_on", text);
}

}  // namespace lorica::data
