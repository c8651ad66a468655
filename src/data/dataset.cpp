// The data set object, and loading: cache or build.
#include "data/dataset.hpp"

#include <spdlog/spdlog.h>
#include <stdlib.h>

#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/strings.hpp"
#include "data/chat_format.hpp"
#include "data/dataset_builder.hpp"
#include "data/sources.hpp"
#include "data/token_store.hpp"

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

/// A folder of this process's own that is removed at the end of the scope; what is mapped from it stays readable.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    auto pattern = (fs::temp_directory_path() / "lorica-data-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) raise<FileError>("{}: can't create a temporary folder", pattern);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void add_source(ContentHash& hash, const ResolvedSource& source, const DataOptions& options) {
  const auto& selection = source.selection;
  hash.add_field(config::name_of(source.format));
  hash.add_field(static_cast<std::uint64_t>(selection.first)).add_field(static_cast<std::uint64_t>(selection.skip));
  hash.add_field(selection.shuffle_seed.value_or(0)).add_field(std::uint64_t{selection.shuffle_seed.has_value()});
  hash.add_field(static_cast<std::uint64_t>(source.synthetic ? options.dataset_samples : 0));
  hash.add_field(static_cast<std::uint64_t>(source.files.size()));
  for (const auto& path : source.files) {
    // The path is what messages and origins name.
    hash.add_field(path.string()).add_field(checksum(MappedFile(path)));
  }
}

std::string cache_key(const std::vector<ResolvedSource>& sources, const DataOptions& options,
                      const TextEncoder& encoder) {
  ContentHash hash;
  hash.add_field(static_cast<std::uint64_t>(kTokenStoreVersion)).add_field(encoder.content_hash());
  hash.add_field(config::name_of(options.train_on)).add_field(config::name_of(options.truncation));
  hash.add_field(static_cast<std::uint64_t>(options.context_length));
  hash.add_field(std::uint64_t{options.append_eos}).add_field(std::uint64_t{options.skip_bad_rows});
  hash.add_field(std::uint64_t{options.for_evaluation}).add_field(std::uint64_t{!options.chat_template.empty()});
  hash.add_field(static_cast<std::uint64_t>(options.column_mapping.size()));
  for (const auto& [column, source] : options.column_mapping) hash.add_field(column).add_field(source);
  hash.add_field(join(options.ignore_columns, ","));
  for (const auto& source : sources) add_source(hash, source, options);
  return hash.hex();
}

[[noreturn]] void raise_nothing_left(const DataReport& report, const DataOptions& options) {
  std::vector<std::string> names;
  for (const auto& file : report.files) names.push_back(file.path);
  if (names.size() > 3) names.resize(3), names.emplace_back("…");
  const auto files = join(names, ", ");
  if (report.rows_read == 0) raise<DataError>("{}: the data set is empty: it has no rows", files);
  if (report.unsupervised.count > 0) {
    raise<DataError>("{}: no token carries loss, so there is nothing to learn (for instance {}). {}\n{}", files,
                     report.unsupervised.examples.front(),
                     report.truncated.count > 0
                         ? fmt::format("The answers begin after context_length = {}: raise it.", options.context_length)
                         : "Check the answer column, or set train_on to all.",
                     report.text());
  }
  raise<DataError>("{}: none of the {} rows is left to train on\n{}", files, format_count(report.rows_read),
                   report.text());
}

void build(const fs::path& folder, const std::vector<ResolvedSource>& sources, const DataOptions& options,
           const TextEncoder& encoder, const std::string& key, DataReport& report) {
  TokenStoreWriter writer(folder);
  DatasetBuilder builder(options, encoder, writer, report);
  for (const auto& source : sources) builder.add(source);
  if (writer.examples() == 0) raise_nothing_left(report, options);
  writer.finish(key, report, builder.needs_sorting());
}

/// The cached store, or nullptr if there is none or it is damaged.
std::shared_ptr<const TokenStore> open_cache(const fs::path& folder, const std::string& key,
                                             std::vector<std::string>& warnings) {
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) return nullptr;
  try {
    return std::make_shared<const TokenStore>(folder, key, true);
  } catch (const Error& error) {
    warnings.push_back(fmt::format("the cache of tokenized data is damaged and is built again: {}", error.what()));
    spdlog::warn(warnings.back());
    return nullptr;
  }
}

/// What was left aside beside the rows: nothing of it belongs to the cached data.
void account_for(const std::vector<ResolvedSource>& sources, const DataOptions& options, DataReport& report) {
  for (const auto& source : sources) report.left.insert(report.left.end(), source.left.begin(), source.left.end());
  account_for_chat_format(options, report, report.notes);
}

}  // namespace

TokenizedDataset load_dataset(const DataOptions& options, const TextEncoder& encoder, DataReport& report) {
  report = {};
  if (options.sources.empty()) raise<ConfigError>("dataset: no name or file is given");
  if (options.context_length < 2)
    raise<ConfigError>("context_length is {}; it must be at least 2", options.context_length);
  if (options.dataset_samples < 1)
    raise<ConfigError>("dataset_samples is {}; it must be at least 1", options.dataset_samples);
  std::vector<ResolvedSource> sources;
  for (const auto& source : options.sources) sources.push_back(resolve_source(source, options));
  const auto key = cache_key(sources, options, encoder);
  if (options.cache_folder.empty()) {
    const TemporaryFolder folder;
    build(folder.path(), sources, options, encoder, key, report);
    account_for(sources, options, report);
    return TokenizedDataset(std::make_shared<const TokenStore>(folder.path(), key, false));
  }
  const auto folder = options.cache_folder / key;
  std::vector<std::string> warnings;
  auto store = open_cache(folder, key, warnings);
  const bool from_cache = store != nullptr;
  if (from_cache) {
    report = store->report();
  } else {
    create_folder(options.cache_folder);
    PendingFolder pending(folder);
    build(pending.path(), sources, options, encoder, key, report);
    pending.commit();
    store = std::make_shared<const TokenStore>(folder, key, false);
  }
  account_for(sources, options, report);
  report.from_cache = from_cache;
  report.cache_path = folder.string();
  report.warnings = std::move(warnings);
  return TokenizedDataset(std::move(store));
}

TokenizedDataset::TokenizedDataset(std::shared_ptr<const TokenStore> store) : store_(std::move(store)) {
  order_.resize(store_->examples().size());
  for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<std::int64_t>(i);
  count();
}

TokenizedDataset::TokenizedDataset(std::shared_ptr<const TokenStore> store, std::vector<std::int64_t> order)
    : store_(std::move(store)), order_(std::move(order)) {
  count();
}

void TokenizedDataset::count() {
  for (std::int64_t i = 0; i < size(); ++i) {
    tokens_ += length(i);
    supervised_ += supervised(i);
    longest_ = std::max(longest_, length(i));
  }
}

const ExampleRecord& TokenizedDataset::record(std::int64_t index) const {
  ensure(index >= 0 && index < size(), "example {} of {}", index, size());
  return store_->examples()[static_cast<std::size_t>(order_[static_cast<std::size_t>(index)])];
}

ExampleView TokenizedDataset::example(std::int64_t index) const {
  const auto& found = record(index);
  return {.tokens = store_->tokens(found),
          .supervised = store_->spans(found),
          .id = order_[static_cast<std::size_t>(index)]};
}

std::int64_t TokenizedDataset::length(std::int64_t index) const {
  return record(index).tokens;
}
std::int64_t TokenizedDataset::supervised(std::int64_t index) const {
  return record(index).supervised;
}
std::string TokenizedDataset::origin(std::int64_t index) const {
  return store_->origin(record(index));
}

std::uint64_t TokenizedDataset::row_key(std::int64_t index) const {
  const auto& found = record(index);
  return (static_cast<std::uint64_t>(found.file) << 40) | found.unit;
}

TokenizedDataset TokenizedDataset::select(const std::vector<std::int64_t>& indices) const {
  std::vector<std::int64_t> order;
  order.reserve(indices.size());
  for (const auto index : indices) {
    ensure(index >= 0 && index < size(), "example {} of {}", index, size());
    order.push_back(order_[static_cast<std::size_t>(index)]);
  }
  return TokenizedDataset(store_, std::move(order));
}

std::string TokenizedDataset::content_hash() const {
  ContentHash hash;
  if (store_ != nullptr) hash.add_field(store_->key());
  for (const auto index : order_) hash.add_field(static_cast<std::uint64_t>(index));
  return hash.hex();
}

}  // namespace lorica::data
