// Parquet files, and the Arrow files of the Hugging Face datasets cache, batch by batch. Only columns that somebody
// reads are decoded.
#ifdef LORICA_HAS_ARROW

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <parquet/arrow/reader.h>

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "data/data_file.hpp"
#include "data/row_keys.hpp"
#include "data/text_file.hpp"

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

bool is_wanted(const std::string& column, const std::set<std::string>& columns) {
  return is_known_column(column) || columns.contains(column);
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

/// Text, numbers, lists, structs and maps as JSON has them; of other types, the name, for messages.
nlohmann::json to_json(const arrow::Array& array, std::int64_t index);

template <class List>
nlohmann::json list_to_json(const List& list, std::int64_t index) {
  auto json = nlohmann::json::array();
  for (auto i = list.value_offset(index); i < list.value_offset(index + 1); ++i)
    json.push_back(to_json(*list.values(), i));
  return json;
}

nlohmann::json fixed_list_to_json(const arrow::FixedSizeListArray& list, std::int64_t index) {
  auto json = nlohmann::json::array();
  for (auto i = list.value_offset(index); i < list.value_offset(index + 1); ++i)
    json.push_back(to_json(*list.values(), i));
  return json;
}

nlohmann::json map_to_json(const arrow::MapArray& map, std::int64_t index) {
  auto json = nlohmann::json::object();
  for (auto i = map.value_offset(index); i < map.value_offset(index + 1); ++i) {
    const auto key = to_json(*map.keys(), i);
    json[key.is_string() ? key.get<std::string>() : key.dump()] = to_json(*map.items(), i);
  }
  return json;
}

template <class Numbers>
nlohmann::json number_to_json(const arrow::Array& array, std::int64_t index) {
  return static_cast<const Numbers&>(array).Value(index);
}

nlohmann::json type_to_json(const arrow::Array& array) {
  return nlohmann::json::object({{"arrow type", array.type()->ToString()}});
}

/// Bytes are text where they are UTF-8, as writers without a text type leave them.
nlohmann::json bytes_to_json(std::string_view bytes, const arrow::Array& array) {
  return utf8_fault(bytes, "").empty() ? nlohmann::json(bytes) : type_to_json(array);
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
    case arrow::Type::BINARY:
      return bytes_to_json(static_cast<const arrow::BinaryArray&>(array).GetView(index), array);
    case arrow::Type::LARGE_BINARY:
      return bytes_to_json(static_cast<const arrow::LargeBinaryArray&>(array).GetView(index), array);
    case arrow::Type::BINARY_VIEW:
      return bytes_to_json(static_cast<const arrow::BinaryViewArray&>(array).GetView(index), array);
    case arrow::Type::BOOL:
      return number_to_json<arrow::BooleanArray>(array, index);
    case arrow::Type::INT8:
      return number_to_json<arrow::Int8Array>(array, index);
    case arrow::Type::INT16:
      return number_to_json<arrow::Int16Array>(array, index);
    case arrow::Type::INT32:
      return number_to_json<arrow::Int32Array>(array, index);
    case arrow::Type::INT64:
      return number_to_json<arrow::Int64Array>(array, index);
    case arrow::Type::UINT8:
      return number_to_json<arrow::UInt8Array>(array, index);
    case arrow::Type::UINT16:
      return number_to_json<arrow::UInt16Array>(array, index);
    case arrow::Type::UINT32:
      return number_to_json<arrow::UInt32Array>(array, index);
    case arrow::Type::UINT64:
      return number_to_json<arrow::UInt64Array>(array, index);
    case arrow::Type::FLOAT:
      return number_to_json<arrow::FloatArray>(array, index);
    case arrow::Type::DOUBLE:
      return number_to_json<arrow::DoubleArray>(array, index);
    case arrow::Type::EXTENSION:
      return to_json(*static_cast<const arrow::ExtensionArray&>(array).storage(), index);
    case arrow::Type::FIXED_SIZE_LIST:
      return fixed_list_to_json(static_cast<const arrow::FixedSizeListArray&>(array), index);
    case arrow::Type::MAP:
      return map_to_json(static_cast<const arrow::MapArray&>(array), index);
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
      return type_to_json(array);
  }
}

/// Hands the rows of a file on, batch by batch; of their columns, those that are wanted.
class Rows {
 public:
  /// `undecoded`: columns that the reader doesn't decode at all.
  Rows(const fs::path& path, const RowVisitor& visitor, const std::set<std::string>& columns,
       std::set<std::string> undecoded = {})
      : path_(path), visitor_(visitor), columns_(columns), undecoded_(std::move(undecoded)) {}

  /// Returns false when the visitor wants no more.
  bool visit(const arrow::RecordBatch& batch) {
    // Offsets of a damaged file must not lead outside its buffers.
    check(batch.ValidateFull(), path_);
    if (names_ == nullptr) note_columns(batch);
    for (std::int64_t i = 0; i < batch.num_rows(); ++i) {
      auto json = nlohmann::json::object();
      for (int column = 0; column < batch.num_columns(); ++column) {
        const auto& name = batch.column_name(column);
        if (!undecoded_.contains(name)) json[name] = to_json(*batch.column(column), i);
      }
      if (!visitor_({.content = std::move(json), .row = ++row_, .undecoded = names_})) return false;
    }
    return true;
  }

 private:
  void note_columns(const arrow::RecordBatch& batch) {
    for (const auto& name : batch.schema()->field_names()) {
      if (!is_wanted(name, columns_)) undecoded_.insert(name);
    }
    // A file of none that is wanted is decoded whole, so that the message can say what would do.
    if (undecoded_.size() == static_cast<std::size_t>(batch.num_columns())) undecoded_.clear();
    names_ = std::make_shared<const std::vector<std::string>>(undecoded_.begin(), undecoded_.end());
  }

  const fs::path& path_;
  const RowVisitor& visitor_;
  const std::set<std::string>& columns_;
  std::set<std::string> undecoded_;
  std::shared_ptr<const std::vector<std::string>> names_;
  std::int64_t row_ = 0;
};

void visit_batches(arrow::RecordBatchReader& reader, const fs::path& path, Rows& rows) {
  for (;;) {
    std::shared_ptr<arrow::RecordBatch> batch;
    check(reader.ReadNext(&batch), path);
    if (batch == nullptr || !rows.visit(*batch)) return;
  }
}

/// The leaf columns that belong to wanted top-level ones (a list of structs has several), all if none is wanted; and
/// the columns that are left.
std::vector<int> wanted_leaves(const parquet::FileMetaData& metadata, const std::set<std::string>& columns,
                               std::set<std::string>& undecoded) {
  std::vector<int> leaves, all;
  std::set<std::string> left;
  for (int leaf = 0; leaf < metadata.schema()->num_columns(); ++leaf) {
    const auto column = metadata.schema()->Column(leaf)->path()->ToDotVector().front();
    all.push_back(leaf);
    if (is_wanted(column, columns)) {
      leaves.push_back(leaf);
    } else {
      left.insert(column);
    }
  }
  if (leaves.empty()) return all;
  undecoded = std::move(left);
  return leaves;
}

std::shared_ptr<arrow::io::MemoryMappedFile> open(const fs::path& path) {
  if (!fs::exists(path)) raise<FileError>("{}: no such file", path.string());
  return take(arrow::io::MemoryMappedFile::Open(path.string(), arrow::io::FileMode::READ), path);
}

}  // namespace

void visit_parquet(const fs::path& path, const RowVisitor& visitor, const std::set<std::string>& columns) {
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
    std::set<std::string> undecoded;
    const auto leaves = wanted_leaves(*file->parquet_reader()->metadata(), columns, undecoded);
    const auto reader = take(file->GetRecordBatchReader(groups, leaves), path);
    Rows rows(path, visitor, columns, std::move(undecoded));
    visit_batches(*reader, path, rows);
  } catch (const parquet::ParquetException& error) {
    raise<DataError>("{}: can't be read (is the file damaged or cut short?): {}", path.string(), error.what());
  }
}

void visit_arrow(const fs::path& path, const RowVisitor& visitor, const std::set<std::string>& columns) {
  Rows rows(path, visitor, columns);
  const auto input = open(path);
  const auto magic = take(input->ReadAt(0, 6), path);
  // `datasets` writes the stream form; Feather files have the random-access form.
  if (magic->ToString() != "ARROW1") {
    const auto reader = take(arrow::ipc::RecordBatchStreamReader::Open(input), path);
    return visit_batches(*reader, path, rows);
  }
  const auto file = take(arrow::ipc::RecordBatchFileReader::Open(input), path);
  for (int i = 0; i < file->num_record_batches(); ++i) {
    if (!rows.visit(*take(file->ReadRecordBatch(i), path))) return;
  }
}

}  // namespace lorica::data

#endif
