// Drives rows from files through rendering, tokenizing and assembling into a token store, in bounded chunks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "data/assembler.hpp"
#include "data/data_file.hpp"
#include "data/sources.hpp"
#include "data/token_store.hpp"

namespace lorica::data {

class DatasetBuilder {
 public:
  DatasetBuilder(const DataOptions& options, const TextEncoder& encoder, TokenStoreWriter& writer, DataReport& report);

  /// Throws DataError as load_dataset() does.
  void add(const ResolvedSource& source);
  /// Whether the examples must be put in the order of their ranks at the end.
  bool needs_sorting() const { return needs_sorting_; }

 private:
  struct Pending {
    RawRow row;
    std::uint32_t file;
    std::uint64_t rank;
  };
  struct Rendered {
    std::vector<Segment> segments;
    std::string fault;
  };

  void add_synthetic(const ResolvedSource& source);
  void add_file(const std::filesystem::path& path, const ResolvedSource& source, const std::vector<std::int64_t>& ranks,
                std::int64_t& row_number);
  std::uint32_t open_file(const std::string& name, RowFormat format);
  void push(RawRow&& row, std::uint32_t file, std::uint64_t rank);
  bool format_known(const RawRow& row, std::uint32_t file);
  void flush();
  std::vector<Rendered> render_pending() const;
  std::vector<AssembledRow> assemble(const std::vector<Rendered>& rendered) const;
  void record(const Pending& pending, const AssembledRow& row);
  void bad_row(std::uint32_t file, std::int64_t line, const std::string& fault);
  std::string origin(std::uint32_t file, std::int64_t line) const;

  const DataOptions& options_;
  const TextEncoder& encoder_;
  TokenStoreWriter& writer_;
  DataReport& report_;
  Assembler assembler_;
  std::vector<RowFormat> formats_;  ///< by file
  std::vector<Pending> pending_;
  std::size_t pending_bytes_ = 0;
  std::uint64_t rank_base_ = 0;  ///< ranks of the sources before
  bool needs_sorting_ = false;
};

}  // namespace lorica::data
