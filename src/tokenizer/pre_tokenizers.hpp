// The `pre_tokenizer` of tokenizer.json: cuts a normalized text into the pieces that the model encodes one by one.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/alignment.hpp"
#include "tokenizer/json_view.hpp"
#include "tokenizer/regex.hpp"
#include "tokenizer/word_splitter.hpp"

namespace lorica::tokenizer {

/// A piece of a text; `first` as NormalizedText::at_start.
struct Piece {
  std::string_view text;
  bool first;
  const TextSpan* places = nullptr;  ///< where its bytes come from; null where it is a part of SplitScratch::source
};

/// What becomes of the matches of a split.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Buffers of one thread, reused from text to text. Pieces refer to the input or to `arena`.
struct SplitScratch {
  std::vector<Piece> pieces, next;
  std::vector<Span> matches;
  std::vector<std::pair<Span, bool>> segments;
  std::deque<std::string> arena;
  /// Where places are wanted: the text that was given, which starts at byte `source_start` of the whole one.
  bool aligned = false;
  std::string_view source;
  std::size_t source_start = 0;
  std::deque<Alignment> alignments;

  /// Begins with one piece.
  void start(const Piece& piece);
  /// The part of the whole text that the bytes [begin, end) of a piece come from.
  TextSpan place(const Piece& piece, std::size_t begin, std::size_t end) const;
};

struct ByteLevelSplit {
  bool add_prefix_space, use_regex;
  bool map_bytes;  ///< false when the model takes raw bytes (PreTokenizers::leaves_bytes)
};
struct PatternSplit {
  Pattern pattern;
  SplitBehavior behavior;
  bool invert;
  std::optional<WordSplitter> fast;
};
struct MetaspaceSplit {
  enum class Prepend { kAlways, kFirst, kNever };
  std::string replacement;
  Prepend prepend;
  bool split;
  bool even_if_present = false;  ///< prepends also where the text has one (SentencePiece's own way)
};
/// Cuts at characters that have one of `flags` of unicode_flags().
struct CharacterSplit {
  std::uint16_t flags;
  bool ascii_punctuation;
  SplitBehavior behavior;
};
/// `\w+|[^\w\s]+`, the rest dropped.
struct WordsAndSymbolsSplit {};
struct FixedLengthSplit {
  std::size_t length;  ///< characters
};
using PreTokenizer =
    std::variant<ByteLevelSplit, PatternSplit, MetaspaceSplit, CharacterSplit, WordsAndSymbolsSplit, FixedLengthSplit>;

/// A chain of pre-tokenizers; sequences are flattened.
class PreTokenizers {
 public:
  /// Appends those of a JSON value (null adds none). Throws DataError naming an unsupported type or a bad field.
  void add(const JsonView& json, int depth = 0);
  void add(PreTokenizer stage) { chain_.push_back(std::move(stage)); }
  /// If the chain ends in ByteLevel, stops it from writing bytes in its alphabet and returns true: the pieces are then
  /// the raw bytes.
  bool leave_bytes();
  /// Replaces scratch.pieces by what they are cut into.
  void apply(SplitScratch& scratch) const;

 private:
  std::vector<PreTokenizer> chain_;
};

}  // namespace lorica::tokenizer
