// Stands in for arrow_file.cpp where Arrow is not built in.
#ifndef LORICA_HAS_ARROW

#include "base/error.hpp"
#include "data/data_file.hpp"

namespace lorica::data {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path) {
  raise<DataError>(
      "{}: this build can't read Parquet and Arrow files. Install pyarrow (pip install pyarrow) and build again, or "
      "convert the "
      "file to .jsonl.",
      path.string());
}

}  // namespace

void visit_parquet(const std::filesystem::path& path, const RowVisitor&, const std::set<std::string>&) {
  refuse(path);
}
void visit_arrow(const std::filesystem::path& path, const RowVisitor&, const std::set<std::string>&) {
  refuse(path);
}

}  // namespace lorica::data

#endif
