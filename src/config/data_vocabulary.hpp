// The part of the vocabulary (vocabulary.hpp) that the data layer acts on.
#pragma once

#include "config/vocabulary.hpp"

namespace lorica::config {

/// How the columns of a row become text (data/templates.hpp has the texts).
enum class DatasetFormat {
  automatic,          ///< from the columns of each file's first row
  text,               ///< `text`: trained on from the first token to the last
  instruction,        ///< `instruction`, `input`, `output`, `system`, `history`: the alpaca template
  prompt_completion,  ///< `prompt`, `completion`: as they are
  messages,           ///< `messages` [{role, content}] or `conversations` [{from, value}]: the plain chat template
  question_answer,    ///< `question`, `answer`: the orca_math template
  context_question,   ///< `context`, `question`, `answer`: the sql template
  human_assistant,    ///< `text` of "### Human: …### Assistant: …": the guanaco template
};
constexpr auto words_of(DatasetFormat) {
  return std::to_array<Word<DatasetFormat>>({{DatasetFormat::automatic, "auto"},
                                             {DatasetFormat::text, "text"},
                                             {DatasetFormat::instruction, "instruction"},
                                             {DatasetFormat::prompt_completion, "prompt_completion"},
                                             {DatasetFormat::messages, "messages"},
                                             {DatasetFormat::question_answer, "question_answer"},
                                             {DatasetFormat::context_question, "context_question"},
                                             {DatasetFormat::human_assistant, "human_assistant"}});
}

/// Which tokens carry loss.
enum class TrainOn {
  completion,  ///< answers and their terminators
  all,         ///< prompts, too
};
constexpr auto words_of(TrainOn) {
  return std::to_array<Word<TrainOn>>({{TrainOn::completion, "completion"}, {TrainOn::all, "all"}});
}

/// What becomes of an example longer than context_length.
enum class Truncation {
  truncate,  ///< its first context_length tokens are kept
  drop,      ///< it is left out
  error,     ///< the run stops, naming the row
  split,     ///< it is cut into pieces; each starts with the tokenizer's own prefix (BOS), and no label is lost
};
constexpr auto words_of(Truncation) {
  return std::to_array<Word<Truncation>>({{Truncation::truncate, "truncate"},
                                          {Truncation::drop, "drop"},
                                          {Truncation::error, "error"},
                                          {Truncation::split, "split"}});
}

}  // namespace lorica::config
