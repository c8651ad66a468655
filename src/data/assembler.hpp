// From the segments of an example's text to its token ids and what of them carries loss, in examples of at most
// context_length tokens.
//
// The text of an example is tokenized as one, as it stands in the file and as transformers and TRL do it: a completion
// begins with the tokens that it has behind its prompt, whatever the tokenizer puts before a text that stands alone. A
// token carries loss if at least one of its bytes belongs to a segment that does. At the edge of prompt and completion
// a token may have bytes of both; it carries loss, since else the completion's first word would never be learned.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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
  /// Refers to `encoder`, which must outlive it. Learns from it what it puts before every text. Throws DataError if
  /// append_eos is on and there is no EOS; ConfigError if context_length has no room for a token after that prefix.
  Assembler(const DataOptions& options, const TextEncoder& encoder);

  /// Thread-safe.
  AssembledRow assemble(std::span<const Segment> segments) const;

 private:
  /// A text that is tokenized as one, and which of its bytes carry loss.
  struct Run {
    std::string text;
    std::vector<tokenizer::TextSpan> supervised;  ///< ascending, disjoint
    bool eos_follows = false, eos_supervised = false;
    /// Whether some of its bytes carry loss and some don't.
    bool mixed() const {
      return !supervised.empty() && (supervised.front().begin > 0 || supervised.front().end < text.size());
    }
  };
  std::vector<Run> runs_of(std::span<const Segment> segments) const;
  TokenizedExample join(std::span<const Segment> segments, AssembledRow& row) const;
  tokenizer::Encoding encode(const Run& run) const;
  static void supervise(const Run& run, const tokenizer::Encoding& encoding, std::size_t offset,
                        std::vector<Span>& supervised);
  void drop_repeated_bos(tokenizer::Encoding& encoding, bool prefix_has_bos, AssembledRow& row) const;
  void truncate(TokenizedExample& example, AssembledRow& row) const;
  void split(const TokenizedExample& example, AssembledRow& row) const;

  DataOptions options_;
  const TextEncoder& encoder_;
  std::vector<std::int32_t> prefix_;  ///< BOS and the like
  std::optional<std::int32_t> bos_, eos_;
  std::optional<std::string> eos_text_;
};

/// Ids of a text that a model is to go on from: those that a row beginning with this text has in training (what the
/// tokenizer puts before a text, one BOS, nothing behind it).
std::vector<std::int32_t> encode_prompt(const TextEncoder& encoder, std::string_view text);

}  // namespace lorica::data
