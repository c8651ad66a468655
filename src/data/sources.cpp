#include "data/sources.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/strings.hpp"
#include "data/data_file.hpp"
#include "data/glob.hpp"

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

/// The data sets that fsdp_qlora knows by name.
struct NamedSource {
  std::string_view name;
  std::string_view hub_id;  ///< "owner/name"; "" for made-up rows
  std::string_view split;   ///< part of the file names, where a data set has several
  RowFormat format;
};

constexpr std::array<NamedSource, 6> kNamedSources = {{
    {"alpaca", "yahma/alpaca-cleaned", "train", RowFormat::instruction},
    {"alpaca_sample", "yahma/alpaca-cleaned", "train", RowFormat::instruction},
    {"dummy", "", "", RowFormat::instruction},
    {"guanaco", "timdettmers/openassistant-guanaco", "train", RowFormat::human_assistant},
    {"sql", "knowrohit07/know_sql", "val", RowFormat::context_question},
    {"orca_math", "microsoft/orca-math-word-problems-200k", "train", RowFormat::question_answer},
}};

Selection selection_of(std::string_view name, const DataOptions& options) {
  if (name == "alpaca_sample") return {.first = options.dataset_samples};
  if (name == "sql") return {.skip = 1000, .shuffle_seed = options.seed};
  // The seed of orca_math's choice is fixed.
  if (name == "orca_math") return {.first = options.dataset_samples, .shuffle_seed = 42, .exact = true};
  return {};
}

/// Files that `datasets` and the Hub put beside the data.
bool is_bookkeeping(const fs::path& path) {
  static const std::set<std::string> names = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json",
                                              "state.json", "config.json"};
  const auto name = path.filename().string();
  return name.starts_with('.') || name.starts_with("cache-") || names.contains(name);
}

/// The data files in a folder and below it. Texts count only where there are no tables: next to those they are
/// read-mes.
std::vector<fs::path> folder_files(const fs::path& folder) {
  std::vector<fs::path> tables, texts;
  for (const auto& path : expand_glob((folder / "**").string())) {
    if (is_bookkeeping(path)) continue;
    if (is_table_file(path)) {
      tables.push_back(path);
    } else if (is_data_file(path)) {
      texts.push_back(path);
    }
  }
  return tables.empty() ? texts : tables;
}

std::vector<fs::path> files_at(const std::string& where) {
  std::error_code ignored;
  if (fs::is_regular_file(where, ignored)) return {where};
  if (fs::is_directory(where, ignored)) return folder_files(where);
  return is_glob(where) ? expand_glob(where) : std::vector<fs::path>();
}

/// Where a folder holds several splits, the files of the one that is wanted.
std::vector<fs::path> only_split(std::vector<fs::path> files, std::string_view split) {
  std::vector<fs::path> wanted;
  for (const auto& file : files) {
    if (file.filename().string().find(split) != std::string::npos) wanted.push_back(file);
  }
  return wanted.empty() ? files : wanted;
}

fs::path newest_folder(const fs::path& parent) {
  std::error_code error;
  fs::path newest;
  fs::file_time_type time;
  for (fs::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
    if (!it->is_directory(error)) continue;
    const auto written = fs::last_write_time(it->path(), error);
    if (newest.empty() || written > time) newest = it->path(), time = written;
  }
  return newest;
}

/// A Hub cache has datasets--owner--name/{refs/main,snapshots/<commit>/…}; the cache of `datasets` has owner___name/….
fs::path cached_folder(const fs::path& cache, std::string_view hub_id) {
  std::error_code ignored;
  const auto hub = cache / ("datasets--" + replace_all(std::string(hub_id), "/", "--"));
  if (fs::is_regular_file(hub / "refs" / "main", ignored)) {
    const auto commit = std::string(trim(read_file(hub / "refs" / "main")));
    const auto snapshot = hub / "snapshots" / fs::path(commit).filename();
    if (fs::is_directory(snapshot, ignored)) return snapshot;
  }
  if (const auto newest = newest_folder(hub / "snapshots"); !newest.empty()) return newest;
  const auto prepared = cache / replace_all(std::string(hub_id), "/", "___");
  return fs::is_directory(prepared, ignored) ? prepared : fs::path();
}

std::vector<fs::path> named_files(const NamedSource& named, const DataSource& source, const DataOptions& options) {
  const std::string name(named.name);
  if (!source.path.empty()) {
    auto files = files_at(source.path);
    if (files.empty()) raise<DataError>("{}: no data file of the data set '{}' is there", source.path, name);
    return only_split(std::move(files), named.split);
  }
  for (const auto* end : {"", ".json", ".jsonl", ".parquet"}) {
    auto files = files_at(name + end);
    if (!files.empty()) return only_split(std::move(files), named.split);
  }
  std::vector<std::string> looked;
  for (const auto& cache : options.hub_caches) {
    const auto folder = cached_folder(cache, named.hub_id);
    auto files = folder.empty() ? std::vector<fs::path>() : files_at(folder.string());
    if (!files.empty()) return only_split(std::move(files), named.split);
    looked.push_back(cache.string());
  }
  raise<DataError>(
      "the data set '{}' needs the files of {} and they are not here. Looked for {} and {}.json, .jsonl and .parquet "
      "in this "
      "folder{}. Fetch them on a machine that reaches the Hub (hf download --repo-type dataset {}) and give the file "
      "or folder as "
      "dataset_path.",
      name, named.hub_id, name, name, looked.empty() ? "" : " and in " + join(looked, ", "), named.hub_id);
}

[[noreturn]] void raise_missing(const std::string& where) {
  std::error_code ignored;
  if (fs::is_directory(where, ignored)) {
    raise<DataError>("{}: the folder holds no data file (.json, .jsonl, .txt, .parquet, .arrow)", where);
  }
  if (is_glob(where)) raise<DataError>("{}: no file matches", where);
  const auto near = nearest_name(where, dataset_names());
  raise<DataError>("{}: no such file or folder, and no data set of that name{}. Names are {}.", where,
                   near.empty() ? "" : fmt::format(" (did you mean {}?)", near), join(dataset_names(), ", "));
}

}  // namespace

const std::vector<std::string>& dataset_names() {
  static const auto names = [] {
    std::vector<std::string> list;
    for (const auto& named : kNamedSources) list.emplace_back(named.name);
    return list;
  }();
  return names;
}

ResolvedSource resolve_source(const DataSource& source, const DataOptions& options) {
  ResolvedSource resolved{.name = source.dataset};
  for (const auto& named : kNamedSources) {
    if (named.name != source.dataset) continue;
    resolved.format = named.format;
    resolved.selection = selection_of(named.name, options);
    resolved.synthetic = named.hub_id.empty();
    if (!resolved.synthetic) resolved.files = named_files(named, source, options);
    return resolved;
  }
  const auto& where = source.dataset.empty() ? source.path : source.dataset;
  if (where.empty()) raise<ConfigError>("dataset: no name or file is given");
  resolved.name = where;
  resolved.format = options.format;
  resolved.files = files_at(where);
  if (resolved.files.empty()) raise_missing(where);
  for (const auto& file : resolved.files) {
    if (!is_data_file(file)) {
      raise<DataError>("{}: unknown kind of data file; it must end in .json, .jsonl, .txt, .parquet or .arrow",
                       file.string());
    }
  }
  return resolved;
}

}  // namespace lorica::data
