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

void visit_json_file(const fs::path& path, bool lines, const RowVisitor& visitor) {
  const auto file = std::make_shared<const MappedFile>(path);
  std::size_t released = 0;
  visit_json(file->text(), path.string(), lines, [&](std::string_view row, std::int64_t line) {
    const auto position = static_cast<std::size_t>(row.data() - file->text().data());
    if (position > released + 2 * kResidentBytes) {
      file->release(released, position - kResidentBytes - released);
      released = position - kResidentBytes;
    }
    return visitor({.content = RawRow::Json{row}, .line = line, .file = file});
  });
}

}  // namespace

bool is_table_file(const fs::path& path) {
  const auto end = extension(path);
  return end == ".json" || end == ".jsonl" || end == ".parquet" || end == ".arrow";
}

bool is_data_file(const fs::path& path) {
  return is_table_file(path) || extension(path) == ".txt";
}

void visit_rows(const fs::path& path, const RowVisitor& visitor) {
  const auto end = extension(path);
  if (end == ".json" || end == ".jsonl") return visit_json_file(path, end == ".jsonl", visitor);
  if (end == ".parquet") return visit_parquet(path, visitor);
  if (end == ".arrow") return visit_arrow(path, visitor);
  if (end == ".txt") {
    const auto file = std::make_shared<const MappedFile>(path);
    visitor({.content = RawRow::Document{file->text()}, .line = 1, .file = file});
    return;
  }
  raise<DataError>("{}: unknown kind of data file; it must end in .json, .jsonl, .txt, .parquet or .arrow",
                   path.string());
}

}  // namespace lorica::data
