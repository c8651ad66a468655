// From the token ids of an example's segments to examples of at most context_length tokens with exact masks.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/dataset.hpp"
#include "data/options.hpp"
#include "data/templates.hpp"
#include "data/text_encoder.hpp"

namespace lorica::data {

/// Tokens and what of them carries loss.
struct TokenizedExample {
  std::vector<std::int32_t> tokens;
  std::vector<Span> supervised;  ///< ascending, disjoint, begin >= 1
  std::int64_t labels() const;
};

/// What became of one row.
struct AssembledRow {
  enum class Fate { kept, empty, unsupervised, dropped, too_long };
  Fate fate = Fate::kept;
  std::vector<TokenizedExample> examples;  ///< one; several if split
  std::int64_t length = 0;                 ///< tokens before any cut
  std::int64_t tokens_cut = 0;
  bool truncated = false, split = false;
  bool end_cut = false;       ///< a terminator that carried loss was cut off
  bool repeated_bos = false;  ///< the text began with BOS itself
};

class Assembler {
 public:
  /// Learns from the encoder what it puts before every text. Throws DataError if append_eos is on and there is no EOS;
  /// ConfigError if context_length has no room for a token after that prefix.
  Assembler(const DataOptions& options, const TextEncoder& encoder);

  /// `ids[i]` are the ids of `segments[i].text`, without special tokens of the tokenizer's own. Thread-safe.
  AssembledRow assemble(std::span<const Segment> segments, std::span<const std::vector<std::int32_t>> ids) const;

 private:
  TokenizedExample join(std::span<const Segment> segments, std::span<const std::vector<std::int32_t>> ids,
                        AssembledRow& row) const;
  void truncate(TokenizedExample& example, AssembledRow& row) const;
  void split(const TokenizedExample& example, AssembledRow& row) const;

  DataOptions options_;
  std::vector<std::int32_t> prefix_;  ///< BOS and the like
  std::optional<std::int32_t> bos_, eos_;
};

}  // namespace lorica::data
