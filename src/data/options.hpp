// Everything that decides which tokens a run is trained on. The configuration layer's values are mapped to these.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lorica::data {

/// How the columns of a row become text.
enum class RowFormat {
  automatic,          ///< from the columns of each file's first row
  text,               ///< `text`: trained on from the first token to the last
  instruction,        ///< `instruction`, `input` (may be missing or empty), `output`: the alpaca template
  prompt_completion,  ///< `prompt`, `completion`: as they are
  question_answer,    ///< `question`, `answer`: the orca_math template
  context_question,   ///< `context`, `question`, `answer`: the sql template
  human_assistant,    ///< `text` of "### Human: …### Assistant: …": the guanaco template
  messages,           ///< `messages` [{role, content}] or `conversations` [{from, value}]: the chat template
};

/// What to do with an example longer than context_length.
enum class Truncation {
  truncate,  ///< keep its first context_length tokens
  drop,      ///< leave the example out
  error,     ///< stop, naming the row
  split,     ///< cut it into pieces; every piece starts with the tokenizer's own prefix (BOS) and no label is lost
};

enum class LossOn {
  completions,  ///< answers and their terminators only
  everything,   ///< prompts too
};

/// One data set: a name or files.
struct DataSource {
  /// alpaca, alpaca_sample, dummy, guanaco, sql, orca_math; or a file (.json, .jsonl, .txt, .parquet, .arrow), a folder
  /// of such files, or a glob ("data/*.jsonl", "data/**/*.txt").
  std::string dataset;
  /// Where the files of a data set given by name are (file, folder or glob). Empty: a folder or file of that name here,
  /// then DataOptions::hub_caches.
  std::string path;
};

struct DataOptions {
  std::vector<DataSource> sources;       ///< read in order; must not be empty
  std::vector<DataSource> eval_sources;  ///< separate files for evaluation; may be empty

  RowFormat format = RowFormat::automatic;  ///< for sources given as files; named ones have their own
  LossOn loss_on = LossOn::completions;
  Truncation truncation = Truncation::truncate;
  std::int64_t context_length = 512;   ///< tokens an example may have, BOS and EOS included; > 1
  bool append_eos = true;              ///< end every text and answer with the EOS token, which carries loss
  bool skip_bad_rows = false;          ///< count malformed rows and go on, instead of stopping at the first
  std::int64_t dataset_samples = 512;  ///< rows of alpaca_sample, dummy and orca_math
  std::uint64_t seed = 42;             ///< of the choice of eval rows and of the rows that `sql` leaves out

  double eval_fraction = 0;     ///< part of the training rows kept for evaluation, in [0, 1); seeded choice
  std::int64_t eval_first = 0;  ///< or: this many of the first rows; at most one of the three ways may be given

  /// Hugging Face cache folders to look for named data sets in (…/huggingface/hub, …/huggingface/datasets).
  std::vector<std::filesystem::path> hub_caches;
  /// Where tokenized data are kept. Empty: a temporary file that is gone when the process ends.
  std::filesystem::path cache_folder;
};

/// "auto", "text", "instruction", … for options and messages. parse_… throw ConfigError naming the choices.
std::string_view name(RowFormat format);
std::string_view name(Truncation truncation);
std::string_view name(LossOn loss_on);
RowFormat parse_row_format(std::string_view text);
Truncation parse_truncation(std::string_view text);
LossOn parse_loss_on(std::string_view text);
/// The names that DataSource::dataset knows.
const std::vector<std::string>& dataset_names();

}  // namespace lorica::data
