// Parquet files, and the Arrow files of the Hugging Face datasets cache, batch by batch. Only columns that some row
// format reads are decoded.
#ifdef LORICA_HAS_ARROW

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <fmt/ranges.h>
#include <parquet/arrow/reader.h>

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "data/data_file.hpp"

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

const std::set<std::string>& known_columns() {
  static const std::set<std::string> columns = {"text",    "instruction", "input",        "output",
                                                "prompt",  "completion",  "question",     "answer",
                                                "context", "messages",    "conversations"};
  return columns;
}

void check(const arrow::Status& status, const fs::path& path) {
  if (!status.ok()) {
    raise<DataError>("{}: can't be read (is the file damaged or cut short?): {}", path.string(), status.message());
  }
}

template <class Value>
Value take(arrow::Result<Value> result, const fs::path& path) {
  check(result.status(), path);
  return std::move(result).ValueUnsafe();
}

/// Shapes of a value that a row format can use: text, numbers (so that the message can say what they are), lists,
/// structs.
nlohmann::json to_json(const arrow::Array& array, std::int64_t index);

template <class List>
nlohmann::json list_to_json(const List& list, std::int64_t index) {
  auto json = nlohmann::json::array();
  for (auto i = list.value_offset(index); i < list.value_offset(index + 1); ++i)
    json.push_back(to_json(*list.values(), i));
  return json;
}

nlohmann::json struct_to_json(const arrow::StructArray& record, std::int64_t index) {
  auto json = nlohmann::json::object();
  for (int field = 0; field < record.num_fields(); ++field) {
    json[record.struct_type()->field(field)->name()] = to_json(*record.field(field), index);
  }
  return json;
}

nlohmann::json to_json(const arrow::Array& array, std::int64_t index) {
  if (array.IsNull(index)) return nullptr;
  switch (array.type_id()) {
    case arrow::Type::STRING:
      return static_cast<const arrow::StringArray&>(array).GetString(index);
    case arrow::Type::LARGE_STRING:
      return static_cast<const arrow::LargeStringArray&>(array).GetString(index);
    case arrow::Type::STRING_VIEW:
      return std::string(static_cast<const arrow::StringViewArray&>(array).GetView(index));
    case arrow::Type::LIST:
      return list_to_json(static_cast<const arrow::ListArray&>(array), index);
    case arrow::Type::LARGE_LIST:
      return list_to_json(static_cast<const arrow::LargeListArray&>(array), index);
    case arrow::Type::STRUCT:
      return struct_to_json(static_cast<const arrow::StructArray&>(array), index);
    case arrow::Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
      return to_json(*dictionary.dictionary(), dictionary.GetValueIndex(index));
    }
    default:
      return nlohmann::json::object({{"arrow type", array.type()->ToString()}});
  }
}

/// Returns false when the visitor wants no more.
bool visit_batch(const arrow::RecordBatch& batch, std::int64_t& row, const RowVisitor& visitor) {
  for (std::int64_t i = 0; i < batch.num_rows(); ++i) {
    auto json = nlohmann::json::object();
    for (int column = 0; column < batch.num_columns(); ++column) {
      const auto& name = batch.column_name(column);
      if (known_columns().contains(name)) json[name] = to_json(*batch.column(column), i);
    }
    if (!visitor({.content = std::move(json), .line = ++row, .file = nullptr})) return false;
  }
  return true;
}

void visit_batches(arrow::RecordBatchReader& reader, const fs::path& path, const RowVisitor& visitor) {
  std::int64_t row = 0;
  for (;;) {
    std::shared_ptr<arrow::RecordBatch> batch;
    check(reader.ReadNext(&batch), path);
    if (batch == nullptr) return;
    // Offsets of a damaged file must not lead outside its buffers.
    check(batch->ValidateFull(), path);
    if (!visit_batch(*batch, row, visitor)) return;
  }
}

/// The leaf columns that belong to known top-level ones (a list of structs has several).
std::vector<int> wanted_leaves(const parquet::FileMetaData& metadata, const fs::path& path) {
  std::vector<int> leaves;
  std::set<std::string> columns;
  for (int leaf = 0; leaf < metadata.schema()->num_columns(); ++leaf) {
    const auto column = metadata.schema()->Column(leaf)->path()->ToDotVector().front();
    columns.insert(column);
    if (known_columns().contains(column)) leaves.push_back(leaf);
  }
  if (leaves.empty()) {
    raise<DataError>("{}: no column that can be trained on; it has {}, and needs some of {}", path.string(),
                     fmt::join(columns, ", "), fmt::join(known_columns(), ", "));
  }
  return leaves;
}

std::shared_ptr<arrow::io::MemoryMappedFile> open(const fs::path& path) {
  if (!fs::exists(path)) raise<FileError>("{}: no such file", path.string());
  return take(arrow::io::MemoryMappedFile::Open(path.string(), arrow::io::FileMode::READ), path);
}

}  // namespace

void visit_parquet(const fs::path& path, const RowVisitor& visitor) {
  try {
    parquet::arrow::FileReaderBuilder builder;
    check(builder.Open(open(path)), path);
    parquet::ArrowReaderProperties properties;
    properties.set_batch_size(1024);
    properties.set_use_threads(false);
    builder.properties(properties);
    std::unique_ptr<parquet::arrow::FileReader> file;
    check(builder.Build(&file), path);
    std::vector<int> groups;
    for (int group = 0; group < file->num_row_groups(); ++group) groups.push_back(group);
    const auto leaves = wanted_leaves(*file->parquet_reader()->metadata(), path);
    const auto reader = take(file->GetRecordBatchReader(groups, leaves), path);
    visit_batches(*reader, path, visitor);
  } catch (const parquet::ParquetException& error) {
    raise<DataError>("{}: can't be read (is the file damaged or cut short?): {}", path.string(), error.what());
  }
}

void visit_arrow(const fs::path& path, const RowVisitor& visitor) {
  const auto input = open(path);
  const auto magic = take(input->ReadAt(0, 6), path);
  // `datasets` writes the stream form; Feather files have the random-access form.
  if (magic->ToString() != "ARROW1") {
    const auto reader = take(arrow::ipc::RecordBatchStreamReader::Open(input), path);
    return visit_batches(*reader, path, visitor);
  }
  const auto file = take(arrow::ipc::RecordBatchFileReader::Open(input), path);
  std::int64_t row = 0;
  for (int i = 0; i < file->num_record_batches(); ++i) {
    const auto batch = take(file->ReadRecordBatch(i), path);
    check(batch->ValidateFull(), path);
    if (!visit_batch(*batch, row, visitor)) return;
  }
}

}  // namespace lorica::data

#endif
