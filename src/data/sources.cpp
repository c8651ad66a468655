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
  DatasetFormat format;
};

constexpr std::array<NamedSource, 6> kNamedSources = {{
    {"alpaca", "yahma/alpaca-cleaned", "train", DatasetFormat::instruction},
    {"alpaca_sample", "yahma/alpaca-cleaned", "train", DatasetFormat::instruction},
    {"dummy", "", "", DatasetFormat::instruction},
    {"guanaco", "timdettmers/openassistant-guanaco", "train", DatasetFormat::human_assistant},
    {"sql", "knowrohit07/know_sql", "val", DatasetFormat::context_question},
    {"orca_math", "microsoft/orca-math-word-problems-200k", "train", DatasetFormat::question_answer},
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
  return name.starts_with("cache-") || names.contains(name);
}

/// Why a file that is no data file isn't read.
std::string why_unreadable(const fs::path& path) {
  static const std::set<std::string> tables = {".csv",    ".tsv",     ".xlsx", ".xls", ".db",
                                               ".sqlite", ".feather", ".orc",  ".avro"};
  static const std::set<std::string> packed = {".gz", ".zst", ".bz2", ".xz", ".zip", ".tar", ".tgz", ".7z", ".lz4"};
  const auto end = to_lower(path.extension().string());
  if (packed.contains(end)) return "compressed, and not unpacked here: unpack it first";
  if (tables.contains(end)) return fmt::format("{} isn't read: convert it to .jsonl or .parquet", end);
  return fmt::format("no data file (those end in {})", data_file_kinds());
}

/// Of files that were found, those that hold rows. Texts count only where there are no tables: next to those they are
/// read-mes.
ChosenFiles readable(const std::vector<fs::path>& found) {
  ChosenFiles chosen;
  const bool tables = std::any_of(found.begin(), found.end(),
                                  [](const fs::path& path) { return is_table_file(path) && !is_bookkeeping(path); });
  for (const auto& path : found) {
    if (is_bookkeeping(path)) {
      chosen.left.push_back({path, "describes a data set and holds no rows"});
    } else if (!is_data_file(path)) {
      chosen.left.push_back({path, why_unreadable(path)});
    } else if (tables && !is_table_file(path)) {
      chosen.left.push_back({path, "a text beside tables of rows; give it by name to train on it, too"});
    } else {
      chosen.files.push_back(path);
    }
  }
  return chosen;
}

/// What a folder or a glob stands for, before anything is chosen of it.
struct Found {
  std::vector<fs::path> files;
  fs::path root;                  ///< names below it say the split
  bool names_evaluation = false;  ///< the user's own words say that evaluation data are meant
};

Found find_files(const std::string& where) {
  std::error_code ignored;
  if (fs::is_directory(where, ignored)) {
    const auto path = fs::path(where).lexically_normal();
    const auto last = path.has_filename() ? path.filename() : path.parent_path().filename();
    return {files_below(where), where, is_evaluation(split_of_path(last))};
  }
  if (!is_glob(where)) return {};
  fs::path root;
  std::string pattern;
  for (const auto& part : fs::path(where)) {
    if (pattern.empty() && (!is_glob(part.string()) || fs::exists(root / part, ignored))) {
      root /= part;
    } else {
      pattern += "/" + part.string();
    }
  }
  return {expand_glob(where), root, is_evaluation(split_of_path(pattern))};
}

std::string names_of(const std::vector<LeftFile>& files, const fs::path& root) {
  std::vector<std::string> names;
  for (const auto& file : files) {
    if (names.size() == 6) {
      names.push_back(fmt::format("{} more", files.size() - names.size()));
      break;
    }
    names.push_back(root.empty() ? file.path.string() : file.path.lexically_relative(root).string());
  }
  return join(names, ", ");
}

/// The files at a path or a glob that serve the purpose; none if nothing is there at all. Throws DataError where files
/// are, but none of them serves.
ChosenFiles files_at(const std::string& where, bool for_evaluation) {
  std::error_code ignored;
  if (fs::is_regular_file(where, ignored)) return {.files = {where}, .left = {}};
  const auto found = find_files(where);
  auto data = readable(found.files);
  if (data.files.empty()) {
    if (data.left.empty()) return {};
    raise<DataError>("{}: no data file is there (they end in {}), only {}", where, data_file_kinds(),
                     names_of(data.left, found.root));
  }
  auto chosen = choose_training_files(data.files, found.root, false);
  if (for_evaluation) {
    chosen = choose_evaluation_files(data.files, found.root);
    if (chosen.files.empty()) {
      raise<DataError>(
          "{}: no evaluation data are there, only {}, named as training data. Give eval_dataset a file by "
          "name, or hold rows out with eval_fraction.",
          where, names_of(chosen.left, found.root));
    }
  } else if (chosen.files.empty()) {
    if (!found.names_evaluation) {
      raise<DataError>("{}: only evaluation data are there ({}). Give the file itself as dataset to train on it.",
                       where, names_of(chosen.left, found.root));
    }
    chosen = choose_training_files(data.files, found.root, true);
  }
  chosen.left.insert(chosen.left.end(), data.left.begin(), data.left.end());
  return chosen;
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

/// Of a named data set's files, those of the split that it is known for, if a name says that split.
ChosenFiles only_split(const Found& found, std::string_view split) {
  auto all = readable(found.files);
  const auto is_wanted = [&](const fs::path& file) {
    return file.filename().string().find(split) != std::string::npos;
  };
  if (std::none_of(all.files.begin(), all.files.end(), is_wanted)) {
    auto chosen = choose_training_files(all.files, found.root, false);
    chosen.left.insert(chosen.left.end(), all.left.begin(), all.left.end());
    return chosen;
  }
  ChosenFiles chosen{.files = {}, .left = all.left};
  for (const auto& file : all.files) {
    if (is_wanted(file)) {
      chosen.files.push_back(file);
    } else {
      chosen.left.push_back({file, fmt::format("this data set's rows are those of the files named {}", split)});
    }
  }
  return chosen;
}

ChosenFiles named_files(const NamedSource& named, const DataSource& source, const DataOptions& options) {
  const std::string name(named.name);
  const auto at = [&](const std::string& where) {
    std::error_code ignored;
    if (fs::is_regular_file(where, ignored)) return ChosenFiles{.files = {where}, .left = {}};
    return only_split(find_files(where), named.split);
  };
  if (!source.path.empty()) {
    auto chosen = at(source.path);
    if (chosen.files.empty()) raise<DataError>("{}: no data file of the data set '{}' is there", source.path, name);
    return chosen;
  }
  for (const auto* end : {"", ".json", ".jsonl", ".parquet"}) {
    if (auto chosen = at(name + end); !chosen.files.empty()) return chosen;
  }
  std::vector<std::string> looked;
  for (const auto& cache : options.hub_caches) {
    const auto folder = cached_folder(cache, named.hub_id);
    if (!folder.empty()) {
      if (auto chosen = at(folder.string()); !chosen.files.empty()) return chosen;
    }
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
    raise<DataError>("{}: the folder holds no data file ({})", where, data_file_kinds());
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
  const auto take = [&](ChosenFiles&& chosen) {
    resolved.files = std::move(chosen.files);
    resolved.left = std::move(chosen.left);
  };
  for (const auto& named : kNamedSources) {
    if (named.name != source.dataset) continue;
    resolved.format = named.format;
    resolved.selection = selection_of(named.name, options);
    resolved.named = true;
    resolved.synthetic = named.hub_id.empty();
    if (!resolved.synthetic) take(named_files(named, source, options));
    return resolved;
  }
  const auto& where = source.dataset.empty() ? source.path : source.dataset;
  if (where.empty()) raise<ConfigError>("dataset: no name or file is given");
  resolved.name = where;
  resolved.format = options.format;
  take(files_at(where, options.for_evaluation));
  if (resolved.files.empty()) raise_missing(where);
  if (!is_data_file(resolved.files.front())) {  // given by name: in folders they were sorted out
    raise<DataError>("{}: unknown kind of data file; its name must end in one of {}. {}", where, data_file_kinds(),
                     why_unreadable(where));
  }
  return resolved;
}

}  // namespace lorica::data
