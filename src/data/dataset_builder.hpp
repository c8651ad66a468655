// Drives rows from files through rendering, tokenizing and assembling into a token store, in bounded chunks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/assembler.hpp"
#include "data/data_file.hpp"
#include "data/row_parser.hpp"
#include "data/row_renderer.hpp"
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
    RenderedRow row;
    std::optional<BadRow> fault;
  };

  void add_synthetic(const ResolvedSource& source);
  void add_file(const std::filesystem::path& path, const ResolvedSource& source, const std::vector<std::int64_t>& ranks,
                std::int64_t& row_number);
  std::uint32_t open_file(const std::string& name, const ResolvedSource& source);
  /// Parsed, with the columns of its file's mapping. Throws BadRow.
  nlohmann::json columns_of(const RawRow& row, std::uint32_t file) const;
  void push(RawRow&& row, std::uint32_t file, std::uint64_t rank);
  bool format_known(const RawRow& row, std::uint32_t file);
  void flush();
  std::vector<Rendered> render_pending() const;
  std::vector<AssembledRow> assemble(const std::vector<Rendered>& rendered) const;
  void record(const Pending& pending, const AssembledRow& row);
  void count_unused(const Pending& pending, const std::vector<std::string>& unused);
  void count_bad(std::uint32_t file, const RawRow& row, const BadRow& fault);
  std::string origin(std::uint32_t file, const RawRow& row) const;

  const DataOptions& options_;
  TokenStoreWriter& writer_;
  DataReport& report_;
  Assembler assembler_;
  std::vector<DatasetFormat> formats_;                      ///< by file
  std::vector<const std::vector<MappedColumn>*> mappings_;  ///< by file
  std::vector<std::uint64_t> pieces_;                       ///< by file: examples made of it
  std::vector<Pending> pending_;
  std::size_t pending_bytes_ = 0;
  std::uint64_t rank_base_ = 0;  ///< ranks of the sources before
  bool needs_sorting_ = false;
};

}  // namespace lorica::data
