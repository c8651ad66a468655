// What the names of files and folders say about the split that their rows belong to.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lorica::data {

enum class Split { unnamed, train, validation, test };

/// The split that a word names ("dev" is validation), or unnamed. Capitals don't count.
Split split_of_word(std::string_view word);
inline bool is_split_name(std::string_view word) {
  return split_of_word(word) != Split::unnamed;
}
inline bool is_evaluation(Split split) {
  return split == Split::validation || split == Split::test;
}

/// The split that the parts of a path (file and folders) name by one of their words: letters between other characters,
/// as in train-00000-of-00001.parquet, data/test/rows.jsonl, my_dev.json. A path that names several is evaluation data.
Split split_of_path(const std::filesystem::path& path);

/// A file that was found and isn't read.
struct LeftFile {
  std::filesystem::path path;
  std::string reason;
};

/// The files of a folder or a glob that serve one purpose.
struct ChosenFiles {
  std::vector<std::filesystem::path> files;
  std::vector<LeftFile> left;
};

/// Of `files`, found in `root`, those to train on: the ones whose path below `root` names train, or, if none does, the
/// ones that name no split. With `asked`, evaluation data were asked for by name: all are taken.
ChosenFiles choose_training_files(const std::vector<std::filesystem::path>& files, const std::filesystem::path& root,
                                  bool asked);
/// Those to evaluate on: validation data, else test data, else files that name no split.
ChosenFiles choose_evaluation_files(const std::vector<std::filesystem::path>& files, const std::filesystem::path& root);

}  // namespace lorica::data
