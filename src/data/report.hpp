// What happened to the rows on their way to tokens: nothing is left out or cut in silence.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/account.hpp"
#include "data/split_names.hpp"

namespace lorica::data {

struct FileReport {
  std::string path;
  std::string format;  ///< how its rows were read: "instruction", "text", …
  std::int64_t rows = 0;
};

/// A count of rows, and the first few of them by name ("file.jsonl:12: why").
struct Incident {
  std::int64_t count = 0;
  std::vector<std::string> examples;
  void add(std::string what);
};

struct DataReport {
  std::vector<FileReport> files;
  std::int64_t rows_read = 0;   ///< rows seen, after a named data set's own selection
  Incident bad;                 ///< malformed or lacking a column; only with skip_bad_rows
  Incident empty;               ///< no token at all
  Incident unsupervised;        ///< no token that carries loss: left out
  Incident truncated;           ///< cut to context_length
  bool text_truncated = false;  ///< a whole text file is among them
  Incident dropped;             ///< longer than context_length and left out
  Incident split;               ///< cut into pieces
  Incident repeated_bos;        ///< the text itself began with BOS; one is kept

  std::int64_t examples = 0;         ///< what training sees
  std::int64_t tokens = 0;           ///< of them
  std::int64_t supervised = 0;       ///< of those, labels that carry loss
  std::int64_t tokens_cut = 0;       ///< lost by truncation
  std::int64_t ends_cut = 0;         ///< answers that lost their terminator by truncation
  std::int64_t longest_row = 0;      ///< tokens of the longest row, before any cut
  std::int64_t longest_example = 0;  ///< tokens of the longest example

  Account unused;              ///< columns of rows, and keys of files, that nothing reads
  std::vector<LeftFile> left;  ///< files that were found beside those read, and why not
  Account notes;               ///< what else was left aside in this run

  bool from_cache = false;
  std::string cache_path;             ///< empty if nothing is kept
  std::vector<std::string> warnings;  ///< for instance a cache that had to be rebuilt

  /// All that was left aside: `unused`, `left` and `notes`.
  Account account() const;
  /// A few lines for the run's log.
  std::string text() const;
};

void to_json(nlohmann::json& json, const DataReport& report);
void from_json(const nlohmann::json& json, DataReport& report);

}  // namespace lorica::data
