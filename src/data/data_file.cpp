// Opens a data file by the end of its name.
#include "data/data_file.hpp"

#include "base/error.hpp"
#include "base/strings.hpp"

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

/// Bytes of a mapped file that may stay resident behind the reader. They are clean pages: reading one again is slow,
/// not wrong.
constexpr std::size_t kResidentBytes = std::size_t{64} << 20;

std::string extension(const fs::path& path) {
  return to_lower(path.extension().string());
}

bool is_json_lines(const std::string& end) {
  return end == ".jsonl" || end == ".ndjson";
}

void visit_json_file(const fs::path& path, bool lines, const RowVisitor& visitor, Account* account) {
  const auto file = std::make_shared<const MappedFile>(path);
  std::size_t released = 0;
  std::int64_t number = 0;
  std::vector<std::string> unused;
  visit_json(
      file->text(), path.string(), lines,
      [&](const JsonRow& row) {
        const auto position = static_cast<std::size_t>(row.text.data() - file->text().data());
        if (position > released + 2 * kResidentBytes) {
          file->release(released, position - kResidentBytes - released);
          released = position - kResidentBytes;
        }
        return visitor({.content = RawRow::Json{row.text},
                        .row = ++number,
                        .line = row.line,
                        .column = row.column,
                        .shares_line = row.shares_line,
                        .file = file});
      },
      &unused);
  if (account == nullptr) return;
  for (const auto& key : unused) {
    account->leave_aside(Account::Kind::metadata, path.string(), key, "its rows are those of the list \"data\"");
  }
}

}  // namespace

bool is_table_file(const fs::path& path) {
  const auto end = extension(path);
  return end == ".json" || is_json_lines(end) || end == ".parquet" || end == ".arrow";
}

bool is_data_file(const fs::path& path) {
  return is_table_file(path) || extension(path) == ".txt";
}

std::string_view data_file_kinds() {
  return ".json, .jsonl, .ndjson, .txt, .parquet, .arrow";
}

void visit_rows(const fs::path& path, const RowVisitor& visitor, const std::set<std::string>& columns,
                Account* account) {
  const auto end = extension(path);
  if (end == ".json" || is_json_lines(end)) return visit_json_file(path, is_json_lines(end), visitor, account);
  if (end == ".parquet") return visit_parquet(path, visitor, columns);
  if (end == ".arrow") return visit_arrow(path, visitor, columns);
  if (end == ".txt") {
    const auto file = std::make_shared<const MappedFile>(path);
    visitor({.content = RawRow::Document{file->text()}, .row = 1, .line = 1, .file = file});
    return;
  }
  raise<DataError>("{}: unknown kind of data file; its name must end in one of {}", path.string(), data_file_kinds());
}

}  // namespace lorica::data
