// The file format of tokenized data: four files in a folder, memory-mapped.
//   tokens.bin    int32  [tokens]     the examples, end to end
//   examples.bin  ExampleRecord [examples]
//   spans.bin     Span   [spans]      what carries loss, relative to each example
//   meta.json     version, key, sizes, checksums, names of the source files, the data report
// Numbers are little-endian, as on every machine that Lorica runs on.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/files.hpp"
#include "data/assembler.hpp"
#include "data/dataset.hpp"

namespace lorica::data {

/// Part of every cache key: a new number when the format or the meaning of an option changes.
inline constexpr int kTokenStoreVersion = 2;

struct ExampleRecord {
  std::uint64_t first_token = 0;
  std::uint64_t first_span = 0;
  std::uint32_t tokens = 0;
  std::uint32_t spans = 0;
  std::uint32_t supervised = 0;   ///< labels that carry loss
  std::uint32_t file = 0;         ///< index into the source files
  std::uint64_t row = 0;          ///< its number in the file, from 1
  std::uint64_t line = 0;         ///< in the file, from 1; 0: it has no lines
  std::uint64_t unit = 0;         ///< of one file: examples with the same one stay on one side of an evaluation split
  std::uint32_t shares_line = 0;  ///< 1: other rows start in the same line
  std::uint32_t reserved = 0;
};
static_assert(sizeof(ExampleRecord) == 64);

/// Where a row stands in its file.
struct RowPlace {
  std::uint64_t row = 0, line = 0;  ///< as in ExampleRecord
  bool shares_line = false;
};

class TokenStore {
 public:
  /// Maps a folder that TokenStoreWriter wrote. Throws DataError saying what is wrong with it: missing or short files,
  /// offsets beyond them, another key, and with `verify` checksums that don't match.
  TokenStore(const std::filesystem::path& folder, const std::string& key, bool verify);

  const std::string& key() const { return key_; }
  std::span<const ExampleRecord> examples() const { return examples_; }
  std::span<const std::int32_t> tokens(const ExampleRecord& example) const {
    return tokens_.subspan(example.first_token, example.tokens);
  }
  std::span<const Span> spans(const ExampleRecord& example) const {
    return spans_.subspan(example.first_span, example.spans);
  }
  std::string origin(const ExampleRecord& example) const;
  const DataReport& report() const { return report_; }

 private:
  void check_records(const std::filesystem::path& folder) const;
  std::optional<MappedFile> token_file_, example_file_, span_file_;
  std::span<const std::int32_t> tokens_;
  std::span<const ExampleRecord> examples_;
  std::span<const Span> spans_;
  std::vector<std::string> files_;
  DataReport report_;
  std::string key_;
};

/// Writes a store into an existing folder, example by example. Throws FileError (disk full, …).
class TokenStoreWriter {
 public:
  explicit TokenStoreWriter(std::filesystem::path folder);
  ~TokenStoreWriter();
  TokenStoreWriter(const TokenStoreWriter&) = delete;
  TokenStoreWriter& operator=(const TokenStoreWriter&) = delete;

  /// Index of a source file for add().
  std::uint32_t add_file(std::string name);
  /// `rank` orders the examples of a store that is finished with sort_by_rank.
  /// `unit`: ExampleRecord::unit.
  void add(const TokenizedExample& example, std::uint32_t file, const RowPlace& place, std::uint64_t unit,
           std::uint64_t rank);
  std::int64_t examples() const { return static_cast<std::int64_t>(example_count_); }
  /// Writes what is left and the meta data. Nothing may be added afterwards.
  void finish(const std::string& key, const DataReport& report, bool sort_by_rank);

 private:
  struct File;
  void reorder();
  std::filesystem::path folder_;
  std::unique_ptr<File> tokens_, examples_, spans_;
  std::vector<std::string> files_;
  std::vector<std::uint64_t> ranks_;
  std::uint64_t token_count_ = 0, span_count_ = 0, example_count_ = 0;
};

/// "file.jsonl:12", "file.json:1: row 12" where several rows share a line, "file.parquet: row 12" where there are none.
std::string row_origin(const std::string& file, const RowPlace& place);

/// A checksum of a file's content, on all threads. Pages are let go as it goes along, so that a large file does not
/// fill memory.
std::string checksum(const MappedFile& file);

}  // namespace lorica::data
