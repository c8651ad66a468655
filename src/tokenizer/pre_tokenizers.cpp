// See pre_tokenizers.hpp.
#include "tokenizer/pre_tokenizers.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "tokenizer/byte_level.hpp"
#include "tokenizer/normalizers.hpp"
#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {
namespace {

using Segments = std::vector<std::pair<Span, bool>>;

void emit(SplitScratch& s, const Piece& from, Span span) {
  if (span.end > span.begin) {
    s.next.push_back({from.text.substr(span.begin, span.end - span.begin), from.first && span.begin == 0,
                      from.places == nullptr ? nullptr : from.places + span.begin});
  }
}

/// Matches and the gaps between them, in order.
void fill_segments(std::string_view text, const std::vector<Span>& matches, bool invert, Segments& segments) {
  segments.clear();
  std::size_t done = 0;
  for (const Span& match : matches) {
    if (match.begin > done) segments.push_back({{done, match.begin}, invert});
    segments.push_back({match, !invert});
    done = match.end;
  }
  if (done < text.size()) segments.push_back({{done, text.size()}, invert});
}

/// Joins neighbours in place: `joins(match, previous_match)` says whether a segment goes to the one before it.
template <class Joins>
void join_segments(Segments& segments, Joins joins) {
  std::size_t kept = 0;
  bool previous = false;
  for (const auto& [span, match] : Segments(segments)) {
    if (kept > 0 && joins(match, previous)) {
      Span& last = segments[kept - 1].first;
      last = {std::min(last.begin, span.begin), std::max(last.end, span.end)};
    } else {
      segments[kept++] = {span, false};
    }
    previous = match;
  }
  segments.resize(kept);
}

/// Cuts `piece` at scratch.matches.
void cut(SplitScratch& s, const Piece& piece, SplitBehavior behavior, bool invert) {
  fill_segments(piece.text, s.matches, invert, s.segments);
  const auto merges = [](bool match, bool previous) { return match && !previous; };
  switch (behavior) {
    case SplitBehavior::kRemoved:
      std::erase_if(s.segments, [](const auto& segment) { return segment.second; });
      break;
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kContiguous:
      join_segments(s.segments, [](bool match, bool previous) { return match == previous; });
      break;
    case SplitBehavior::kMergedWithPrevious:
      join_segments(s.segments, merges);
      break;
    case SplitBehavior::kMergedWithNext:
      std::reverse(s.segments.begin(), s.segments.end());
      join_segments(s.segments, merges);
      std::reverse(s.segments.begin(), s.segments.end());
      break;
  }
  for (const auto& [span, match] : s.segments) emit(s, piece, span);
}

void emit_words(SplitScratch& s, const Piece& piece, WordSplitter splitter) {
  s.matches.clear();
  split_words(splitter, piece.text, s.matches);
  for (const Span& word : s.matches) emit(s, piece, word);
}

/// A text made of a piece: what is written, and where it comes from.
class Written {
 public:
  Written(const Piece& from, SplitScratch& s, std::size_t size)
      : from_(from),
        s_(s),
        text_(s.arena.emplace_back()),
        alignment_(s.aligned ? &s.alignments.emplace_back() : nullptr) {
    text_.reserve(size);
    if (alignment_ != nullptr) alignment_->reserve(size);
  }
  /// Writes `content` in place of the character at `at` of the piece, or in addition to it.
  void put(std::string_view content, std::size_t at) {
    text_.append(content);
    if (alignment_ != nullptr) alignment_->insert(alignment_->end(), content.size(), s_.place(from_, at, at + 1));
  }
  Piece piece() const { return {text_, from_.first, alignment_ == nullptr ? nullptr : alignment_->data()}; }

 private:
  const Piece& from_;
  SplitScratch& s_;
  std::string& text_;
  Alignment* alignment_;
};

void apply(const ByteLevelSplit& stage, Piece piece, SplitScratch& s) {
  if (stage.add_prefix_space && piece.text.front() != ' ') {
    Written with_space(piece, s, piece.text.size() + 1);
    with_space.put(" ", 0);
    for (std::size_t at = 0; at < piece.text.size(); ++at) with_space.put(piece.text.substr(at, 1), at);
    piece = with_space.piece();
  }
  const std::size_t from = s.next.size();
  if (stage.use_regex) {
    emit_words(s, piece, WordSplitter::kGpt2);
  } else {
    s.next.push_back(piece);
  }
  if (!stage.map_bytes) return;
  for (std::size_t i = from; i < s.next.size(); ++i) {
    const Piece word = s.next[i];
    Written mapped(word, s, 2 * word.text.size());
    for (std::size_t at = 0; at < word.text.size(); ++at) {
      mapped.put(byte_character(static_cast<unsigned char>(word.text[at])), at);
    }
    s.next[i] = mapped.piece();
  }
}

void apply(const PatternSplit& stage, const Piece& piece, SplitScratch& s) {
  if (stage.fast) return emit_words(s, piece, *stage.fast);
  s.matches.clear();
  stage.pattern.find_all(piece.text, s.matches);
  cut(s, piece, stage.behavior, stage.invert);
}

void apply(const MetaspaceSplit& stage, const Piece& piece, SplitScratch& s) {
  using Prepend = MetaspaceSplit::Prepend;
  Written written(piece, s, piece.text.size() + piece.text.size() / 2 + stage.replacement.size());
  const bool wanted = stage.prepend == Prepend::kAlways || (stage.prepend == Prepend::kFirst && piece.first);
  const bool present = piece.text.front() == ' ' || piece.text.starts_with(stage.replacement);
  if (wanted && (!present || stage.even_if_present)) written.put(stage.replacement, 0);
  for (std::size_t at = 0; at < piece.text.size(); ++at) {
    written.put(piece.text[at] == ' ' ? std::string_view(stage.replacement) : piece.text.substr(at, 1), at);
  }
  const Piece whole = written.piece();
  if (!stage.split) {
    s.next.push_back(whole);
    return;
  }
  s.matches.clear();
  const std::string_view text = whole.text;
  for (std::size_t at = text.find(stage.replacement); at != std::string::npos;
       at = text.find(stage.replacement, at + stage.replacement.size())) {
    s.matches.push_back({at, at + stage.replacement.size()});
  }
  cut(s, whole, SplitBehavior::kMergedWithNext, false);
}

bool is_ascii_punctuation(char32_t c) {
  return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) || (c >= 0x5B && c <= 0x60) || (c >= 0x7B && c <= 0x7E);
}

void apply(const CharacterSplit& stage, const Piece& piece, SplitScratch& s) {
  s.matches.clear();
  for (std::size_t at = 0; at < piece.text.size();) {
    const CodePoint c = decode_utf8(piece.text.data() + at);
    if ((unicode_flags(c.value) & stage.flags) || (stage.ascii_punctuation && is_ascii_punctuation(c.value))) {
      s.matches.push_back({at, at + c.length});
    }
    at += c.length;
  }
  cut(s, piece, stage.behavior, false);
}

void apply(const WordsAndSymbolsSplit&, const Piece& piece, SplitScratch& s) {
  const auto kind = [](char32_t c) {
    const std::uint16_t flags = unicode_flags(c);
    return flags & kTextWord ? 1 : flags & kWhiteSpace ? 0 : 2;
  };
  std::size_t start = 0;
  int previous = 0;
  for (std::size_t at = 0; at < piece.text.size();) {
    const CodePoint c = decode_utf8(piece.text.data() + at);
    const int now = kind(c.value);
    if (now != previous) {
      if (previous != 0) emit(s, piece, {start, at});
      start = at;
      previous = now;
    }
    at += c.length;
  }
  if (previous != 0) emit(s, piece, {start, piece.text.size()});
}

void apply(const FixedLengthSplit& stage, const Piece& piece, SplitScratch& s) {
  std::size_t start = 0, count = 0;
  for (std::size_t at = 0; at < piece.text.size();) {
    at += utf8_length(static_cast<unsigned char>(piece.text[at]));
    if (++count == stage.length || at == piece.text.size()) {
      emit(s, piece, {start, at});
      start = at;
      count = 0;
    }
  }
}

SplitBehavior parse_behavior(const JsonView& json) {
  static constexpr std::pair<const char*, SplitBehavior> kNames[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  for (const auto& [name, behavior] : kNames) {
    if (json.text() == name) return behavior;
  }
  json.wrong("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

PatternSplit parse_split(const JsonView& json) {
  PatternSplit split{parse_pattern(json["pattern"]), parse_behavior(json["behavior"]), json["invert"].flag_or(false),
                     std::nullopt};
  // The known patterns match every character, so that "removed, inverted" (tiktoken's way) comes to the same as
  // "isolated".
  const bool words =
      split.invert ? split.behavior == SplitBehavior::kRemoved : split.behavior == SplitBehavior::kIsolated;
  if (words) split.fast = word_splitter_of(split.pattern.source());
  return split;
}

MetaspaceSplit parse_metaspace(const JsonView& json) {
  using Prepend = MetaspaceSplit::Prepend;
  const JsonView replacement = json["replacement"], scheme = json["prepend_scheme"];
  const std::string& text = replacement.text();
  if (text.empty() || utf8_length(static_cast<unsigned char>(text[0])) != text.size())
    replacement.wrong("one character");
  const std::string name = scheme.text_or(json["add_prefix_space"].flag_or(true) ? "always" : "never");
  if (name != "always" && name != "first" && name != "never") scheme.wrong("always, first or never");
  const Prepend prepend = name == "always" ? Prepend::kAlways : name == "first" ? Prepend::kFirst : Prepend::kNever;
  if (prepend != Prepend::kNever && !json["add_prefix_space"].flag_or(true)) {
    raise<DataError>("{}: add_prefix_space is false, but prepend_scheme is {:?}", json.where(), name);
  }
  return {text, prepend, json["split"].flag_or(true)};
}

}  // namespace

void SplitScratch::start(const Piece& piece) {
  arena.clear();
  alignments.clear();
  pieces.assign(1, piece);
}

TextSpan SplitScratch::place(const Piece& piece, std::size_t begin, std::size_t end) const {
  if (piece.places != nullptr) return {piece.places[begin].begin, piece.places[end - 1].end};
  const auto start = static_cast<std::size_t>(piece.text.data() - source.data());
  TextSpan span = whole_characters(source, start + begin, start + end);
  span.begin += static_cast<std::uint32_t>(source_start);
  span.end += static_cast<std::uint32_t>(source_start);
  return span;
}

void PreTokenizers::add(const JsonView& json, int depth) {
  if (json.is_null()) return;
  if (depth > kMaxSequenceDepth) raise<DataError>("{}: sequences are nested too deep", json.where());
  const std::string& type = json["type"].text();
  if (type == "Sequence") {
    const JsonView parts = json["pretokenizers"];
    for (std::size_t i = 0; i < parts.size(); ++i) add(parts.at(i), depth + 1);
  } else if (type == "ByteLevel") {
    chain_.push_back(ByteLevelSplit{json["add_prefix_space"].flag_or(true), json["use_regex"].flag_or(true), true});
  } else if (type == "Split") {
    chain_.push_back(parse_split(json));
  } else if (type == "Metaspace") {
    chain_.push_back(parse_metaspace(json));
  } else if (type == "Digits") {
    const bool single = json["individual_digits"].flag_or(false);
    chain_.push_back(CharacterSplit{kNumeric, false, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous});
  } else if (type == "Punctuation") {
    const JsonView behavior = json["behavior"];
    chain_.push_back(
        CharacterSplit{kPunctuation, true, behavior.is_null() ? SplitBehavior::kIsolated : parse_behavior(behavior)});
  } else if (type == "WhitespaceSplit") {
    chain_.push_back(CharacterSplit{kWhiteSpace, false, SplitBehavior::kRemoved});
  } else if (type == "BertPreTokenizer") {
    chain_.push_back(CharacterSplit{kWhiteSpace, false, SplitBehavior::kRemoved});
    chain_.push_back(CharacterSplit{kPunctuation, true, SplitBehavior::kIsolated});
  } else if (type == "Whitespace") {
    chain_.push_back(WordsAndSymbolsSplit{});
  } else if (type == "FixedLength") {
    const JsonView length = json["length"];
    chain_.push_back(FixedLengthSplit{
        length.is_null() ? 5 : static_cast<std::size_t>(std::max<std::int64_t>(1, length.whole(1 << 20)))});
  } else {
    raise<DataError>("{}: the pre-tokenizer {:?} is not supported", json.where(), type);
  }
}

bool PreTokenizers::leave_bytes() {
  const auto is_byte_level = [](const PreTokenizer& stage) { return std::holds_alternative<ByteLevelSplit>(stage); };
  if (chain_.empty() || !is_byte_level(chain_.back())) return false;
  std::get<ByteLevelSplit>(chain_.back()).map_bytes = false;
  return true;
}

void PreTokenizers::apply(SplitScratch& scratch) const {
  for (const PreTokenizer& stage : chain_) {
    scratch.next.clear();
    for (const Piece& piece : scratch.pieces) {
      if (piece.text.empty()) continue;
      std::visit([&](const auto& s) { tokenizer::apply(s, piece, scratch); }, stage);
    }
    scratch.pieces.swap(scratch.next);
  }
}

}  // namespace lorica::tokenizer
