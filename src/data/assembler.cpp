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
    : options_(options),
      encoder_(encoder),
      prefix_(prefix_of(encoder)),
      bos_(encoder.bos()),
      eos_(encoder.eos()),
      eos_text_(encoder.eos_text()) {
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

/// The text of the segments, with EOS where a turn ends. Where no text stands for EOS, its id is put between two runs.
std::vector<Assembler::Run> Assembler::runs_of(std::span<const Segment> segments) const {
  std::vector<Run> runs(1);
  for (const auto& segment : segments) {
    Run& run = runs.back();
    const auto begin = run.text.size();
    run.text += segment.text;
    const bool supervised = !segment.masked && (segment.supervised || options_.train_on == TrainOn::all);
    const bool ends = segment.ends_turn && options_.append_eos;
    if (ends && eos_text_ && !segment.text.ends_with(*eos_text_)) run.text += *eos_text_;
    const auto from = static_cast<std::uint32_t>(begin), to = static_cast<std::uint32_t>(run.text.size());
    if (supervised && to > from) {
      if (!run.supervised.empty() && run.supervised.back().end == from) {
        run.supervised.back().end = to;
      } else {
        run.supervised.push_back({from, to});
      }
    }
    if (!ends || eos_text_) continue;
    run.eos_follows = true;
    run.eos_supervised = supervised;
    runs.emplace_back();
  }
  return runs;
}

/// One BOS, whether the tokenizer or the text puts it there.
void Assembler::drop_repeated_bos(tokenizer::Encoding& encoding, bool prefix_has_bos, AssembledRow& row) const {
  const auto first = std::find_if(encoding.ids.begin(), encoding.ids.end(), [&](auto id) { return id != bos_; });
  auto drop = first - encoding.ids.begin();
  if (!prefix_has_bos) --drop;
  if (drop <= 0) return;
  row.repeated_bos = true;
  encoding.ids.erase(encoding.ids.begin(), encoding.ids.begin() + drop);
  if (!encoding.spans.empty()) encoding.spans.erase(encoding.spans.begin(), encoding.spans.begin() + drop);
}

/// The places of tokens are asked for only where they decide something.
tokenizer::Encoding Assembler::encode(const Run& run) const {
  if (!run.mixed()) return {encoder_.encode(run.text, false), {}};
  return encoder_.encode_with_spans(run.text);
}

void Assembler::supervise(const Run& run, const tokenizer::Encoding& encoding, std::size_t offset,
                          std::vector<Span>& supervised) {
  if (run.supervised.empty()) return;
  if (!run.mixed()) return add_span(supervised, offset, offset + encoding.ids.size());
  auto part = run.supervised.begin();
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [begin, end] = encoding.spans[i];
    while (part != run.supervised.end() && part->end <= begin) ++part;
    if (part != run.supervised.end() && part->begin < end) add_span(supervised, offset + i, offset + i + 1);
  }
}

TokenizedExample Assembler::join(std::span<const Segment> segments, AssembledRow& row) const {
  TokenizedExample example{.tokens = prefix_, .supervised = {}};
  auto& tokens = example.tokens;
  std::size_t ends = 0;  // terminators that were put in
  for (const auto& segment : segments) {
    ends += segment.ends_turn && options_.append_eos && !(eos_text_ && segment.text.ends_with(*eos_text_));
  }
  bool any_text = false;
  for (const Run& run : runs_of(segments)) {
    auto encoding = encode(run);
    if (!any_text && bos_) drop_repeated_bos(encoding, !prefix_.empty(), row);
    any_text |= !encoding.ids.empty();
    supervise(run, encoding, tokens.size(), example.supervised);
    tokens.insert(tokens.end(), encoding.ids.begin(), encoding.ids.end());
    const bool has_end = !encoding.ids.empty() && encoding.ids.back() == eos_;
    if (!run.eos_follows || has_end) continue;
    tokens.push_back(*eos_);
    if (run.eos_supervised) add_span(example.supervised, tokens.size() - 1, tokens.size());
  }
  if (!any_text || tokens.size() <= prefix_.size() + (eos_text_ ? ends : 0)) row.fate = AssembledRow::Fate::empty;
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

AssembledRow Assembler::assemble(std::span<const Segment> segments) const {
  AssembledRow row;
  auto example = join(segments, row);
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

std::vector<std::int32_t> encode_prompt(const TextEncoder& encoder, std::string_view text) {
  auto ids = prefix_of(encoder);
  const auto own = encoder.encode(text, false);
  auto first = own.begin();
  while (encoder.bos() && first != own.end() && *first == *encoder.bos() &&
         (!ids.empty() || std::next(first) == own.end() || *std::next(first) == *encoder.bos())) {
    ++first;
  }
  ids.insert(ids.end(), first, own.end());
  return ids;
}

}  // namespace lorica::data
