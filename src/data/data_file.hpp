// One file of rows, read front to back: JSON (array, {"data": […]} or lines), Parquet, Arrow, or a text as one row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "base/files.hpp"

namespace lorica::data {

/// A row before it is parsed: JSON text, a plain document, or (Parquet, Arrow) values. The views stay valid while
/// `file` lives.
struct RawRow {
  struct Json {
    std::string_view text;
  };
  struct Document {
    std::string_view text;
  };
  std::variant<Json, Document, nlohmann::json> content;
  std::int64_t line =
      0;  ///< from 1: the line in the file that the row starts at; for Parquet and Arrow, the number of the row
  std::shared_ptr<const MappedFile> file;
};

/// Takes the rows in order; returns false to stop.
using RowVisitor = std::function<bool(RawRow&&)>;

/// Whether the name ends like a file that visit_rows() reads.
bool is_data_file(const std::filesystem::path& path);
/// .json, .jsonl, .parquet, .arrow: rows with columns (a .txt file is a document).
bool is_table_file(const std::filesystem::path& path);

/// Throws DataError (naming file and line) if the file's structure is broken, its type is unknown or not built in;
/// FileError.
void visit_rows(const std::filesystem::path& path, const RowVisitor& visitor);

/// Splits JSON text into rows without parsing them: an array's elements, those of the array "data" of an object, the
/// lines of JSON lines, or a single object. Exposed for tests; `name` is for messages.
void visit_json(std::string_view text, const std::string& name, bool lines,
                const std::function<bool(std::string_view row, std::int64_t line)>& visitor);

/// Parquet and Arrow files (arrow_file.cpp; arrow_file_absent.cpp where Arrow is not built in).
void visit_parquet(const std::filesystem::path& path, const RowVisitor& visitor);
void visit_arrow(const std::filesystem::path& path, const RowVisitor& visitor);

}  // namespace lorica::data
