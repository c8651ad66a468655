// Everything that decides which tokens a run is trained on. The configuration layer's values are mapped to these.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "config/data_vocabulary.hpp"

namespace lorica::data {

using config::DatasetFormat;
using config::TrainOn;
using config::Truncation;

/// `column` of a row is read from what the data call `source`, which may be "a.b" for b inside of a.
struct MappedColumn {
  std::string column;
  std::string source;
  bool operator==(const MappedColumn&) const = default;
};

/// One data set: a name or files.
struct DataSource {
  /// alpaca, alpaca_sample, dummy, guanaco, sql, orca_math; or a file (data_file_kinds()), a folder of such files, or a
  /// glob ("data/*.jsonl", "data/**/*.txt").
  std::string dataset;
  /// Where the files of a data set given by name are (file, folder or glob). Empty: a folder or file of that name here,
  /// then DataOptions::hub_caches.
  std::string path;
};

struct DataOptions {
  std::vector<DataSource> sources;       ///< read in order; must not be empty
  std::vector<DataSource> eval_sources;  ///< separate files for evaluation; may be empty

  DatasetFormat format = DatasetFormat::automatic;  ///< for sources given as files; named ones have their own
  std::vector<MappedColumn> column_mapping;         ///< the same
  std::vector<std::string> ignore_columns;          ///< of rows: left aside, whatever they may mean
  TrainOn train_on = TrainOn::completion;
  Truncation truncation = Truncation::truncate;
  std::int64_t context_length = 512;   ///< tokens an example may have, BOS and EOS included; > 1
  bool append_eos = true;              ///< end every text and answer with the EOS token, which carries loss
  bool skip_bad_rows = false;          ///< count malformed rows and go on, instead of stopping at the first
  std::int64_t dataset_samples = 512;  ///< rows of alpaca_sample, dummy and orca_math
  std::uint64_t seed = 42;             ///< of the choice of eval rows and of the rows that `sql` leaves out

  double eval_fraction = 0;     ///< part of the training rows kept for evaluation, in [0, 1); seeded choice
  std::int64_t eval_first = 0;  ///< or: this many of the first rows; at most one of the three ways may be given

  /// What the model has as its chat template; "" if it has none. See data/chat_format.hpp.
  std::string chat_template;
  bool for_evaluation = false;  ///< of folders and globs, the evaluation split is read, not the training split

  /// Hugging Face cache folders to look for named data sets in (…/huggingface/hub, …/huggingface/datasets).
  std::vector<std::filesystem::path> hub_caches;
  /// Where tokenized data are kept. Empty: a temporary file that is gone when the process ends.
  std::filesystem::path cache_folder;
};

/// The names that DataSource::dataset knows.
const std::vector<std::string>& dataset_names();

}  // namespace lorica::data
