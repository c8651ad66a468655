// One file of rows, read front to back: JSON (array, {"data": […]}, objects one after the other, or lines), Parquet,
// Arrow, or a text as one row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/account.hpp"
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
  std::int64_t row = 0;      ///< from 1: its number in the file
  std::int64_t line = 0;     ///< from 1: the line that it starts at; 0 in files without lines (Parquet, Arrow)
  std::int64_t column = 1;   ///< from 1, in characters: where it starts in that line
  bool shares_line = false;  ///< other rows start in the same line
  std::shared_ptr<const MappedFile> file = nullptr;
  /// Columns of the file that were not decoded, as nothing reads them (Parquet, Arrow).
  std::shared_ptr<const std::vector<std::string>> undecoded = nullptr;
};

/// Takes the rows in order; returns false to stop.
using RowVisitor = std::function<bool(RawRow&&)>;

/// Whether the name ends like a file that visit_rows() reads.
bool is_data_file(const std::filesystem::path& path);
/// .json, .jsonl, .ndjson, .parquet, .arrow: rows with columns (a .txt file is a document).
bool is_table_file(const std::filesystem::path& path);
/// ".json, .jsonl, …" for messages.
std::string_view data_file_kinds();

/// Throws DataError (naming file, line and column) if the file's structure is broken, its type is unknown or not built
/// in; FileError. `columns` are read beside those that is_known_column() names; keys of a JSON file that stand beside
/// its list of rows go to `account`, if there is one.
void visit_rows(const std::filesystem::path& path, const RowVisitor& visitor, const std::set<std::string>& columns = {},
                Account* account = nullptr);

/// A row's text in a JSON file, and where it starts.
struct JsonRow {
  std::string_view text;
  std::int64_t line = 1, column = 1;
  bool shares_line = false;
};
/// Splits JSON text into rows without parsing them: the elements of arrays, or of the array "data" of an object;
/// objects one after the other; lines; or a single object. `lines`: the file is named as JSON lines, so that a line
/// that isn't JSON is one bad row among others. Names of keys beside "data" go to `unused`. `name` is for messages.
void visit_json(std::string_view text, const std::string& name, bool lines,
                const std::function<bool(const JsonRow&)>& visitor, std::vector<std::string>* unused = nullptr);

/// Parquet and Arrow files (arrow_file.cpp; arrow_file_absent.cpp where Arrow is not built in).
void visit_parquet(const std::filesystem::path& path, const RowVisitor& visitor, const std::set<std::string>& columns);
void visit_arrow(const std::filesystem::path& path, const RowVisitor& visitor, const std::set<std::string>& columns);

}  // namespace lorica::data
