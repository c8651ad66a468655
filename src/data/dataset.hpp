// Tokenized examples in a memory-mapped file: 3 GB of text cost 3 GB of disk and almost no memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/options.hpp"
#include "data/report.hpp"
#include "data/text_encoder.hpp"

namespace lorica::data {

class TokenStore;
struct ExampleRecord;

/// Tokens [begin, end) of an example that must be predicted. begin >= 1: nothing predicts the first token.
struct Span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool operator==(const Span&) const = default;
};

/// One example, valid while the data set lives.
struct ExampleView {
  std::span<const std::int32_t> tokens;  ///< [length]; BOS and EOS included
  std::span<const Span> supervised;      ///< ascending, disjoint
  std::int64_t id = 0;                   ///< unchanged by select(): keys dropout's random numbers
};

/// A choice of examples of one token file, in order. Cheap to copy; thread-safe.
class TokenizedDataset {
 public:
  TokenizedDataset() = default;
  explicit TokenizedDataset(std::shared_ptr<const TokenStore> store);

  std::int64_t size() const { return static_cast<std::int64_t>(order_.size()); }
  bool empty() const { return order_.empty(); }
  /// 0 <= index < size().
  ExampleView example(std::int64_t index) const;
  std::int64_t length(std::int64_t index) const;
  /// Labels of the example that carry loss.
  std::int64_t supervised(std::int64_t index) const;
  /// "file.jsonl:12": where the example comes from.
  std::string origin(std::int64_t index) const;
  /// Equal for pieces of the same row, different otherwise. The pieces of a text file count as rows of their own.
  std::uint64_t row_key(std::int64_t index) const;

  std::int64_t tokens() const { return tokens_; }
  std::int64_t supervised_tokens() const { return supervised_; }
  std::int64_t longest() const { return longest_; }

  /// The examples at `indices` of this data set, in that order.
  TokenizedDataset select(const std::vector<std::int64_t>& indices) const;
  /// 32 hex digits over the source files, tokenizer, options and this choice of examples.
  std::string content_hash() const;

 private:
  TokenizedDataset(std::shared_ptr<const TokenStore> store, std::vector<std::int64_t> order);
  const ExampleRecord& record(std::int64_t index) const;
  void count();
  std::shared_ptr<const TokenStore> store_;
  std::vector<std::int64_t> order_;  ///< indices into the store
  std::int64_t tokens_ = 0, supervised_ = 0, longest_ = 0;
};

/// Reads, renders and tokenizes `options.sources`, or maps the cached result of an earlier call with the same content
/// of files, tokenizer and options (a damaged cache is rebuilt, with a warning in the log and the report). The text of
/// a row is tokenized as one; labels go by the place of each token in it (assembler.hpp). The tokenizer's own prefix
/// (BOS) stands once at the start of each example. Throws DataError: missing or unreadable files, a malformed row
/// (file:line), a missing column, a text longer than context_length under Truncation::error, no example left, no token
/// that carries loss; ConfigError: contradictory options; FileError.
TokenizedDataset load_dataset(const DataOptions& options, const TextEncoder& encoder, DataReport& report);

struct TrainAndEval {
  TokenizedDataset train;
  TokenizedDataset eval;  ///< empty if no evaluation data were asked for
};

/// load_dataset() and the evaluation data that the options ask for: eval_sources, eval_fraction or eval_first. Pieces
/// of a split row are never on both sides. `eval_report` is filled for eval_sources alone.
TrainAndEval load_train_and_eval(const DataOptions& options, const TextEncoder& encoder, DataReport& report,
                                 DataReport& eval_report);

/// Splits rows off for evaluation: ceil(fraction × rows), chosen by `seed`, in the order of the data set. Throws
/// DataError if a side would be empty.
TrainAndEval split_fraction(const TokenizedDataset& dataset, double fraction, std::uint64_t seed);
/// The first `rows` rows.
TrainAndEval split_first(const TokenizedDataset& dataset, std::int64_t rows);

}  // namespace lorica::data
