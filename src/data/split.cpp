// Setting rows aside for evaluation.
#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/dataset.hpp"

namespace lorica::data {
namespace {

/// Keys of the rows, in the order of the data set, each once.
std::vector<std::uint64_t> row_keys(const TokenizedDataset& dataset) {
  std::vector<std::uint64_t> keys;
  std::unordered_set<std::uint64_t> seen;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    if (seen.insert(dataset.row_key(i)).second) keys.push_back(dataset.row_key(i));
  }
  return keys;
}

TrainAndEval divide(const TokenizedDataset& dataset, const std::unordered_set<std::uint64_t>& eval_rows) {
  std::vector<std::int64_t> train, eval;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    (eval_rows.contains(dataset.row_key(i)) ? eval : train).push_back(i);
  }
  return {.train = dataset.select(train), .eval = dataset.select(eval)};
}

void check_sides(std::int64_t rows, std::int64_t eval_rows) {
  if (eval_rows < 1 || eval_rows >= rows) {
    raise<DataError>(
        "of {} row{}, {} would be kept for evaluation: nothing would be left for the other side{}", rows,
        rows == 1 ? "" : "s", eval_rows,
        rows == 1 ? ". A text file counts as one row, unless truncation split makes several examples of it" : "");
  }
}

/// What one side left and the other reads was not left aside.
void forget_read_files(DataReport& report, const DataReport& other) {
  std::erase_if(report.left, [&](const LeftFile& left) {
    return std::any_of(other.files.begin(), other.files.end(),
                       [&](const FileReport& file) { return file.path == left.path.string(); });
  });
}

}  // namespace

TrainAndEval split_fraction(const TokenizedDataset& dataset, double fraction, std::uint64_t seed) {
  const auto keys = row_keys(dataset);
  const auto rows = static_cast<std::int64_t>(keys.size());
  const auto eval_rows = static_cast<std::int64_t>(std::ceil(fraction * static_cast<double>(rows)));
  check_sides(rows, eval_rows);
  constexpr std::uint64_t kStream = 0x6576616c;  // apart from the sampler's numbers
  const auto order = random_permutation(random_key({seed, kStream}), rows);
  std::unordered_set<std::uint64_t> chosen;
  for (std::int64_t i = 0; i < eval_rows; ++i) {
    chosen.insert(keys[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])]);
  }
  return divide(dataset, chosen);
}

TrainAndEval split_first(const TokenizedDataset& dataset, std::int64_t rows) {
  const auto keys = row_keys(dataset);
  check_sides(static_cast<std::int64_t>(keys.size()), rows);
  return divide(dataset, {keys.begin(), keys.begin() + rows});
}

TrainAndEval load_train_and_eval(const DataOptions& options, const TextEncoder& encoder, DataReport& report,
                                 DataReport& eval_report) {
  const int ways = !options.eval_sources.empty() + (options.eval_fraction != 0) + (options.eval_first != 0);
  if (ways > 1)
    raise<ConfigError>("eval_dataset, eval_fraction and a number of first rows exclude each other: give one");
  if (!(options.eval_fraction >= 0 && options.eval_fraction < 1)) {
    raise<ConfigError>("eval_fraction is {}; it must be at least 0 and less than 1", options.eval_fraction);
  }
  if (options.eval_first < 0) raise<ConfigError>("the number of first rows for evaluation is {}", options.eval_first);
  eval_report = {};
  const auto dataset = load_dataset(options, encoder, report);
  if (options.eval_fraction > 0) return split_fraction(dataset, options.eval_fraction, options.seed);
  if (options.eval_first > 0) return split_first(dataset, options.eval_first);
  if (options.eval_sources.empty()) return {.train = dataset, .eval = {}};
  auto eval_options = options;
  eval_options.sources = options.eval_sources;
  eval_options.for_evaluation = true;
  TrainAndEval sides{.train = dataset, .eval = load_dataset(eval_options, encoder, eval_report)};
  forget_read_files(report, eval_report);
  forget_read_files(eval_report, report);
  return sides;
}

}  // namespace lorica::data
