#include "data/assembler.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace lorica::data {
namespace {

/// What the tokenizer puts before a text: where the ids of a probe without specials stand in those with.
std::vector<std::int32_t> prefix_of(const TextEncoder& encoder) {
  const auto bare = encoder.encode("a", false);
  const auto full = encoder.encode("a", true);
  const auto found = std::search(full.begin(), full.end(), bare.begin(), bare.end());
  // A tokenizer whose specials change the text's own ids has no prefix that could be told apart; BOS alone is looked
  // for.
  if (bare.empty() || found == full.end()) {
    const bool starts = !full.empty() && encoder.bos() && full.front() == *encoder.bos();
    return starts ? std::vector<std::int32_t>{full.front()} : std::vector<std::int32_t>{};
  }
  return {full.begin(), found};
}

void add_span(std::vector<Span>& spans, std::size_t begin, std::size_t end) {
  begin = std::max<std::size_t>(begin, 1);  // nothing predicts the first token
  if (begin >= end) return;
  const auto first = static_cast<std::uint32_t>(begin), last = static_cast<std::uint32_t>(end);
  if (!spans.empty() && spans.back().end == first) {
    spans.back().end = last;
  } else {
    spans.push_back({first, last});
  }
}

/// The part of `spans` inside [begin, end), moved by `shift`.
std::vector<Span> cut_spans(const std::vector<Span>& spans, std::size_t begin, std::size_t end, std::ptrdiff_t shift) {
  std::vector<Span> cut;
  for (const auto& span : spans) {
    const auto from = std::max<std::size_t>(span.begin, begin), to = std::min<std::size_t>(span.end, end);
    if (from < to) {
      add_span(cut, from + static_cast<std::size_t>(shift), to + static_cast<std::size_t>(shift));
    }
  }
  return cut;
}

}  // namespace

std::int64_t TokenizedExample::labels() const {
  std::int64_t count = 0;
  for (const auto& span : supervised) count += span.end - span.begin;
  return count;
}

Assembler::Assembler(const DataOptions& options, const TextEncoder& encoder)
    : options_(options), prefix_(prefix_of(encoder)), bos_(encoder.bos()), eos_(encoder.eos()) {
  if (options.append_eos && !eos_) {
    raise<DataError>(
        "the tokenizer has no end-of-text token, so the model could never learn to stop. Name one as eos_token in its "
        "tokenizer_config.json.");
  }
  const auto needed = static_cast<std::int64_t>(prefix_.size()) + 2;
  if (options.context_length < needed) {
    raise<ConfigError>("context_length is {}, but an example has at least {} tokens", options.context_length, needed);
  }
}

TokenizedExample Assembler::join(std::span<const Segment> segments, std::span<const std::vector<std::int32_t>> ids,
                                 AssembledRow& row) const {
  TokenizedExample example{.tokens = prefix_, .supervised = {}};
  auto& tokens = example.tokens;
  bool any_text = false;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    std::span<const std::int32_t> piece = ids[i];
    // One BOS, whether the tokenizer or the text puts it there.
    while (!any_text && bos_ && piece.size() > 0 && piece.front() == *bos_ && !tokens.empty()) {
      piece = piece.subspan(1);
      row.repeated_bos = true;
    }
    if (!any_text && bos_ && tokens.empty()) {
      while (piece.size() > 1 && piece[0] == *bos_ && piece[1] == *bos_) {
        piece = piece.subspan(1);
        row.repeated_bos = true;
      }
    }
    any_text |= !piece.empty();
    const auto begin = tokens.size();
    tokens.insert(tokens.end(), piece.begin(), piece.end());
    const bool has_end = eos_ && !tokens.empty() && !piece.empty() && tokens.back() == *eos_;
    if (segments[i].ends_turn && options_.append_eos && !has_end) tokens.push_back(*eos_);
    if (!segments[i].masked && (segments[i].supervised || options_.train_on == TrainOn::all))
      add_span(example.supervised, begin, tokens.size());
  }
  if (!any_text) row.fate = AssembledRow::Fate::empty;
  row.length = static_cast<std::int64_t>(tokens.size());
  return example;
}

void Assembler::truncate(TokenizedExample& example, AssembledRow& row) const {
  const auto limit = static_cast<std::size_t>(options_.context_length);
  row.truncated = true;
  row.tokens_cut = row.length - options_.context_length;
  row.end_cut = !example.supervised.empty() && example.supervised.back().end == example.tokens.size();
  example.supervised = cut_spans(example.supervised, 0, limit, 0);
  example.tokens.resize(limit);
}

void Assembler::split(const TokenizedExample& example, AssembledRow& row) const {
  const auto limit = static_cast<std::size_t>(options_.context_length);
  row.split = true;
  // Each piece after the first begins with the prefix, or else repeats one token, so that its first own token is
  // predicted from something and every label is kept exactly once.
  std::size_t begin = 0;
  while (begin < example.tokens.size()) {
    TokenizedExample piece;
    std::size_t repeat = 0;
    if (begin > 0) {
      piece.tokens = prefix_;
      repeat = prefix_.empty() ? 1 : 0;
    }
    const auto lead = piece.tokens.size() + repeat;
    const auto end = std::min(example.tokens.size(), begin + limit - lead);
    piece.tokens.insert(piece.tokens.end(), example.tokens.begin() + static_cast<std::ptrdiff_t>(begin - repeat),
                        example.tokens.begin() + static_cast<std::ptrdiff_t>(end));
    piece.supervised = cut_spans(example.supervised, begin, end,
                                 static_cast<std::ptrdiff_t>(lead) - static_cast<std::ptrdiff_t>(begin));
    if (!piece.supervised.empty()) row.examples.push_back(std::move(piece));
    begin = end;
  }
}

AssembledRow Assembler::assemble(std::span<const Segment> segments,
                                 std::span<const std::vector<std::int32_t>> ids) const {
  AssembledRow row;
  auto example = join(segments, ids, row);
  if (row.fate != AssembledRow::Fate::kept) return row;
  const bool long_row = row.length > options_.context_length;
  if (long_row && options_.truncation == Truncation::error) row.fate = AssembledRow::Fate::too_long;
  if (long_row && options_.truncation == Truncation::drop) row.fate = AssembledRow::Fate::dropped;
  if (row.fate != AssembledRow::Fate::kept) return row;
  if (long_row && options_.truncation == Truncation::split) {
    split(example, row);
  } else {
    if (long_row) truncate(example, row);
    if (!example.supervised.empty()) row.examples.push_back(std::move(example));
  }
  if (row.examples.empty()) row.fate = AssembledRow::Fate::unsupervised;
  const bool bos_first = bos_ && std::count(prefix_.begin(), prefix_.end(), *bos_) == 1;
  for (const auto& piece : row.examples) {
    ensure(static_cast<std::int64_t>(piece.tokens.size()) <= options_.context_length,
           "an example longer than context_length");
    if (bos_first && piece.tokens.size() > prefix_.size()) {
      ensure(std::equal(prefix_.begin(), prefix_.end(), piece.tokens.begin()),
             "an example that does not begin with the tokenizer's prefix");
    }
  }
  return row;
}

}  // namespace lorica::data
