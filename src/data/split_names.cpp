#include "data/split_names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "base/strings.hpp"

namespace fs = std::filesystem;

namespace lorica::data {
namespace {

// The words that `datasets` reads, and heldout, holdout, tests.
constexpr std::array<std::pair<std::string_view, Split>, 13> kWords{{{"train", Split::train},
                                                                     {"training", Split::train},
                                                                     {"validation", Split::validation},
                                                                     {"valid", Split::validation},
                                                                     {"val", Split::validation},
                                                                     {"dev", Split::validation},
                                                                     {"eval", Split::validation},
                                                                     {"evaluation", Split::validation},
                                                                     {"heldout", Split::validation},
                                                                     {"holdout", Split::validation},
                                                                     {"test", Split::test},
                                                                     {"testing", Split::test},
                                                                     {"tests", Split::test}}};

std::string_view split_word(Split split) {
  return split == Split::train ? "train" : split == Split::validation ? "validation" : "test";
}

struct Candidate {
  fs::path path;
  Split split;
};

std::vector<Candidate> candidates(const std::vector<fs::path>& files, const fs::path& root) {
  std::vector<Candidate> result;
  for (const auto& file : files) result.push_back({file, split_of_path(file.lexically_relative(root))});
  return result;
}

bool any_of(const std::vector<Candidate>& all, Split split) {
  return std::any_of(all.begin(), all.end(), [&](const Candidate& one) { return one.split == split; });
}

}  // namespace

Split split_of_word(std::string_view word) {
  const auto lower = to_lower(word);
  for (const auto& [name, split] : kWords) {
    if (name == lower) return split;
  }
  return Split::unnamed;
}

Split split_of_path(const fs::path& path) {
  auto found = Split::unnamed;
  const auto take = [&](std::string_view word) {
    const auto split = split_of_word(word);
    if (split != Split::unnamed && !is_evaluation(found)) found = split;
  };
  const auto text = path.string();
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && (std::isalpha(static_cast<unsigned char>(text[i])) != 0 || (text[i] & 0x80) != 0)) continue;
    take(std::string_view(text).substr(begin, i - begin));
    begin = i + 1;
  }
  return found;
}

ChosenFiles choose_training_files(const std::vector<fs::path>& files, const fs::path& root, bool asked) {
  ChosenFiles chosen;
  if (asked) return {.files = files, .left = {}};
  const auto all = candidates(files, root);
  const auto wanted = any_of(all, Split::train) ? Split::train : Split::unnamed;
  for (const auto& [path, split] : all) {
    if (split == wanted) {
      chosen.files.push_back(path);
    } else if (is_evaluation(split)) {
      chosen.left.push_back({path, fmt::format("named as {} data, which are never trained on unless the file itself is "
                                               "given as dataset",
                                               split_word(split))});
    } else {
      chosen.left.push_back({path,
                             "its name says no split, and files named train are beside it; give it by name to "
                             "train on it, too"});
    }
  }
  return chosen;
}

ChosenFiles choose_evaluation_files(const std::vector<fs::path>& files, const fs::path& root) {
  ChosenFiles chosen;
  const auto all = candidates(files, root);
  const auto wanted = any_of(all, Split::validation) ? Split::validation
                      : any_of(all, Split::test)     ? Split::test
                                                     : Split::unnamed;
  for (const auto& [path, split] : all) {
    if (split == wanted) {
      chosen.files.push_back(path);
    } else if (split == Split::train) {
      chosen.left.push_back({path,
                             "named as training data, which are not evaluated on unless the file itself is given "
                             "as eval_dataset"});
    } else {
      chosen.left.push_back({path, fmt::format("the evaluation data here are those named {}; give it by name to "
                                               "evaluate on it",
                                               split_word(wanted))});
    }
  }
  return chosen;
}

}  // namespace lorica::data
