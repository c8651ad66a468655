#include "data/token_store.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/parallel.hpp"
#include "data/data_file.hpp"

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

template <class Value>
std::span<const Value> map_values(std::optional<MappedFile>& file, const fs::path& path, std::uint64_t count) {
  file.emplace(path);
  if (file->size() / sizeof(Value) != count || file->size() % sizeof(Value) != 0) {
    raise<DataError>("{}: has {} bytes where {} × {} are recorded", path.string(), file->size(), count, sizeof(Value));
  }
  return {reinterpret_cast<const Value*>(file->data()), static_cast<std::size_t>(count)};
}

nlohmann::json read_meta(const fs::path& path, const std::string& key) {
  auto meta = nlohmann::json::parse(read_file(path));
  if (meta.at("version") != kTokenStoreVersion) raise<DataError>("{}: another version of the format", path.string());
  if (meta.at("key") != key) raise<DataError>("{}: belongs to other data or options", path.string());
  return meta;
}

void verify_file(const MappedFile& file, const fs::path& path, const nlohmann::json& expected) {
  if (checksum(file) != expected.get<std::string>()) {
    raise<DataError>("{}: the content does not match its checksum", path.string());
  }
}

}  // namespace

std::string checksum(const MappedFile& file) {
  constexpr std::size_t kBlock = std::size_t{2} << 20, kWindow = 16 * kBlock;
  ContentHash all;
  all.add_field(static_cast<std::uint64_t>(file.size()));
  for (std::size_t start = 0; start < file.size(); start += kWindow) {
    const auto window = file.text().substr(start, kWindow);
    std::vector<std::string> hashes((window.size() + kBlock - 1) / kBlock);
    parallel_for(static_cast<std::int64_t>(hashes.size()), 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        hashes[i] = ContentHash().add(window.substr(i * kBlock, kBlock)).hex();
      }
    });
    for (const auto& hash : hashes) all.add(hash);
    file.release(start, window.size());
  }
  return all.hex();
}

TokenStore::TokenStore(const fs::path& folder, const std::string& key, bool verify) : key_(key) {
  try {
    const auto meta = read_meta(folder / "meta.json", key);
    tokens_ = map_values<std::int32_t>(token_file_, folder / "tokens.bin", meta.at("tokens"));
    examples_ = map_values<ExampleRecord>(example_file_, folder / "examples.bin", meta.at("examples"));
    spans_ = map_values<Span>(span_file_, folder / "spans.bin", meta.at("spans"));
    files_ = meta.at("files");
    report_ = meta.at("report");
    if (verify) {
      verify_file(*token_file_, folder / "tokens.bin", meta.at("tokens_checksum"));
      verify_file(*example_file_, folder / "examples.bin", meta.at("examples_checksum"));
      verify_file(*span_file_, folder / "spans.bin", meta.at("spans_checksum"));
    }
  } catch (const nlohmann::json::exception& error) {
    raise<DataError>("{}: {}", (folder / "meta.json").string(), error.what());
  }
  check_records(folder);
}

void TokenStore::check_records(const fs::path& folder) const {
  for (const auto& example : examples_) {
    const bool inside = example.tokens <= tokens_.size() && example.first_token <= tokens_.size() - example.tokens &&
                        example.spans <= spans_.size() && example.first_span <= spans_.size() - example.spans &&
                        example.file < files_.size();
    std::uint32_t position = 1;
    bool ordered = inside;
    if (inside) {
      for (const auto& span : spans(example)) {
        ordered = ordered && span.begin >= position && span.end > span.begin && span.end <= example.tokens;
        position = span.end;
      }
    }
    if (!ordered) raise<DataError>("{}: an example points outside the data", (folder / "examples.bin").string());
  }
}

std::string TokenStore::origin(const ExampleRecord& example) const {
  return row_origin(files_.at(example.file), {example.row, example.line, example.shares_line != 0});
}

std::string row_origin(const std::string& file, const RowPlace& place) {
  auto text = place.line > 0 ? fmt::format("{}:{}", file, place.line) : file;
  if (place.line == 0 || place.shares_line) text += fmt::format(": row {}", place.row);
  return text;
}

/// A binary file that says why it could not be written.
struct TokenStoreWriter::File {
  explicit File(fs::path where) : path(std::move(where)), stream(std::fopen(path.c_str(), "wb")) {
    if (stream == nullptr) fail();
    std::setvbuf(stream, nullptr, _IOFBF, std::size_t{1} << 20);
  }
  ~File() {
    if (stream != nullptr) std::fclose(stream);
  }
  template <class Value>
  void write(std::span<const Value> values) {
    if (std::fwrite(values.data(), sizeof(Value), values.size(), stream) != values.size()) fail();
  }
  void close() {
    const int result = std::fclose(std::exchange(stream, nullptr));
    if (result != 0) fail();
  }
  [[noreturn]] void fail() const {
    raise<FileError>("{}: can't write the tokenized data: {}. Free some space or choose another cache folder.",
                     path.string(), std::strerror(errno));
  }
  fs::path path;
  std::FILE* stream;
};

TokenStoreWriter::TokenStoreWriter(fs::path folder)
    : folder_(std::move(folder)),
      tokens_(std::make_unique<File>(folder_ / "tokens.bin")),
      examples_(std::make_unique<File>(folder_ / "examples.bin")),
      spans_(std::make_unique<File>(folder_ / "spans.bin")) {}

TokenStoreWriter::~TokenStoreWriter() = default;

std::uint32_t TokenStoreWriter::add_file(std::string name) {
  files_.push_back(std::move(name));
  return static_cast<std::uint32_t>(files_.size() - 1);
}

void TokenStoreWriter::add(const TokenizedExample& example, std::uint32_t file, const RowPlace& place,
                           std::uint64_t unit, std::uint64_t rank) {
  const ExampleRecord record{.first_token = token_count_,
                             .first_span = span_count_,
                             .tokens = static_cast<std::uint32_t>(example.tokens.size()),
                             .spans = static_cast<std::uint32_t>(example.supervised.size()),
                             .supervised = static_cast<std::uint32_t>(example.labels()),
                             .file = file,
                             .row = place.row,
                             .line = place.line,
                             .unit = unit,
                             .shares_line = place.shares_line ? 1U : 0U};
  tokens_->write(std::span<const std::int32_t>(example.tokens));
  spans_->write(std::span<const Span>(example.supervised));
  examples_->write(std::span<const ExampleRecord>(&record, 1));
  ranks_.push_back(rank);
  token_count_ += record.tokens;
  span_count_ += record.spans;
  ++example_count_;
}

void TokenStoreWriter::reorder() {
  const auto path = folder_ / "examples.bin";
  std::vector<ExampleRecord> sorted;
  {
    const MappedFile file(path);
    const auto* records = reinterpret_cast<const ExampleRecord*>(file.data());
    std::vector<std::size_t> order(ranks_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return ranks_[a] < ranks_[b]; });
    for (const auto i : order) sorted.push_back(records[i]);
  }
  File rewritten(path);
  rewritten.write(std::span<const ExampleRecord>(sorted));
  rewritten.close();
}

void TokenStoreWriter::finish(const std::string& key, const DataReport& report, bool sort_by_rank) {
  tokens_->close();
  examples_->close();
  spans_->close();
  if (sort_by_rank) reorder();
  nlohmann::json meta = {
      {"version", kTokenStoreVersion}, {"key", key},      {"tokens", token_count_}, {"examples", example_count_},
      {"spans", span_count_},          {"files", files_}, {"report", report}};
  for (const auto* name : {"tokens", "examples", "spans"}) {
    meta[std::string(name) + "_checksum"] = checksum(MappedFile(folder_ / (std::string(name) + ".bin")));
  }
  write_file(folder_ / "meta.json", meta.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace lorica::data
