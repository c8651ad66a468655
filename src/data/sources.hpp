// From a data set's name or path to the files to read, how to read their rows, and which of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/options.hpp"
#include "data/split_names.hpp"

namespace lorica::data {

/// Which rows of a source are used, and in which order.
struct Selection {
  std::int64_t first = 0;                          ///< rows used, from the start of the order; 0: all
  std::int64_t skip = 0;                           ///< rows left out at the start of the order
  std::optional<std::uint64_t> shuffle_seed = {};  ///< the order: numpy's permutation of this seed; none: the files'
  bool exact = false;                              ///< fewer than `first` rows are an error
  bool operator==(const Selection&) const = default;
  /// Whether it is more than "the first rows, in order", so that the rows must be counted before.
  bool needs_count() const { return shuffle_seed.has_value() || skip > 0; }
};

struct ResolvedSource {
  std::string name;  ///< as the user gave it
  std::vector<std::filesystem::path> files = {};
  std::vector<LeftFile> left = {};  ///< files beside them that are not read
  DatasetFormat format = DatasetFormat::automatic;
  Selection selection = {};
  bool named = false;      ///< of a known name: its columns are known, too
  bool synthetic = false;  ///< `dummy`: rows are made, not read
};

/// Finds the files of a source: of a folder or a glob, those of the split that `options.for_evaluation` asks for.
/// Throws DataError that says which file is needed and where it was looked for, or which files are there and don't
/// serve.
ResolvedSource resolve_source(const DataSource& source, const DataOptions& options);

}  // namespace lorica::data
