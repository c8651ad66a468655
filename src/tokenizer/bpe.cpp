// See bpe.hpp. The rules for unknown characters are those of `tokenizers`' models/bpe; merging gives the same result as
// its heap.
#include "tokenizer/bpe.hpp"

#include <algorithm>
#include <atomic>
#include <queue>

#include "base/error.hpp"
#include "tokenizer/byte_level.hpp"
#include "tokenizer/unicode.hpp"
#include "tokenizer/word_cache.hpp"

namespace lorica::tokenizer {
namespace {

/// The mark that stands for a space in SentencePiece vocabularies (U+2581).
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
/// Up to so many symbols, scanning for the best pair beats a heap.
constexpr std::size_t kScanMost = 48;
constexpr std::uint32_t kNoRank = 0xFFFFFFFF;

}  // namespace

std::uint32_t WordCache::new_owner() {
  static std::atomic<std::uint32_t> next{1};
  return next.fetch_add(1);
}

BpeModel::BpeModel(Vocabulary vocabulary, const std::vector<BpeMerge>& merges, BpeOptions options,
                   const std::string& where)
    : vocabulary_(std::move(vocabulary)),
      options_(std::move(options)),
      merges_(merges.size()),
      owner_(WordCache::new_owner()) {
  if (options_.unknown_token) unknown_ = vocabulary_.id(*options_.unknown_token);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    fallback_ids_[byte] = vocabulary_.id(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
  add_merges(merges, where);
  prepare_bytes();
  prepare_word_cuts();
}

void BpeModel::add_merges(const std::vector<BpeMerge>& merges, const std::string& where) {
  const std::size_t prefix = options_.continuing_prefix.size();
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto need = [&](const std::string& token) {
      const auto id = vocabulary_.id(token);
      if (!id) raise<DataError>("{}.merges[{}]: the token {:?} is not in the vocabulary", where, i, token);
      return static_cast<std::uint32_t>(*id);
    };
    const auto& [left, right, rank] = merges[i];
    if (right.size() < prefix)
      raise<DataError>("{}.merges[{}]: {:?} lacks the continuing_subword_prefix", where, i, right);
    merges_.set(need(left), need(right), {rank, need(left + right.substr(prefix))});
  }
}

void BpeModel::prepare_bytes() {
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto id = vocabulary_.id(byte_character(static_cast<unsigned char>(byte)));
    if (!id) return;
    byte_ids_[byte] = *id;
  }
  takes_bytes_ = options_.continuing_prefix.empty() && options_.word_suffix.empty();
  if (!takes_bytes_ || !options_.ignore_merges) return;
  vocabulary_.each([this](const std::string& token, TokenId id) {
    const auto bytes = bytes_of_byte_level(token);
    if (bytes && vocabulary_.id(token) == id) raw_words_.add(*bytes, id, "vocab");
  });
}

void BpeModel::prepare_word_cuts() {
  if (options_.ignore_merges || !options_.continuing_prefix.empty() || !options_.word_suffix.empty()) return;
  if (!vocabulary_.id(kSpaceMark)) return;
  // If no token has the mark behind another character, no merge can ever cross such a place: a text is encoded word by
  // word.
  bool crosses = false;
  vocabulary_.each([&crosses](const std::string& token, TokenId) {
    const std::size_t word = token.find_first_not_of(kSpaceMark);
    crosses = crosses || (word != std::string::npos && token.find(kSpaceMark, word) != std::string::npos);
  });
  cuts_words_ = !crosses;
}

void BpeModel::encode(std::string_view piece, std::vector<TokenId>& ids) const {
  if (!cuts_words_) return encode_word(piece, ids);
  std::size_t start = 0;
  for (std::size_t at = piece.find(kSpaceMark, 1); at != std::string_view::npos; at = piece.find(kSpaceMark, at + 1)) {
    if (piece.substr(start, at - start).ends_with(kSpaceMark)) continue;
    encode_word(piece.substr(start, at - start), ids);
    start = at;
  }
  encode_word(piece.substr(start), ids);
}

void BpeModel::encode_word(std::string_view word, std::vector<TokenId>& ids) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (const auto whole = vocabulary_.id(word)) return ids.push_back(*whole);
  }
  WordCache& cache = WordCache::local();
  if (cache.find(owner_, word, ids)) return;
  static thread_local std::vector<TokenId> symbols;
  symbols.clear();
  first_symbols(word, symbols);
  merge(symbols);
  cache.store(owner_, word, symbols.data(), symbols.size());
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void BpeModel::encode_bytes(std::string_view word, std::vector<TokenId>& ids) const {
  if (word.empty()) return;
  WordCache& cache = WordCache::local();
  if (cache.find(owner_, word, ids)) return;
  if (options_.ignore_merges) {
    if (const auto whole = raw_words_.id(word)) {
      cache.store(owner_, word, &*whole, 1);
      return ids.push_back(*whole);
    }
  }
  static thread_local std::vector<TokenId> symbols;
  symbols.clear();
  for (const char byte : word) symbols.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  merge(symbols);
  cache.store(owner_, word, symbols.data(), symbols.size());
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

bool BpeModel::add_fallback_bytes(std::string_view character, std::vector<TokenId>& symbols) const {
  for (const char byte : character) {
    if (fallback_ids_[static_cast<unsigned char>(byte)] < 0) return false;
  }
  for (const char byte : character) symbols.push_back(fallback_ids_[static_cast<unsigned char>(byte)]);
  return true;
}

void BpeModel::first_symbols(std::string_view word, std::vector<TokenId>& symbols,
                             std::vector<std::size_t>* ends) const {
  bool pending = false;  // an unknown token that waits for whether the next character joins it
  std::size_t pending_end = 0;
  const auto push = [&](TokenId id, std::size_t end) {
    symbols.push_back(id);
    if (ends != nullptr) ends->push_back(end);
  };
  std::string marked;
  for (std::size_t at = 0; at < word.size();) {
    std::string_view character = word.substr(at, utf8_length(static_cast<unsigned char>(word[at])));
    const bool first = at == 0, last = at + character.size() == word.size();
    const std::size_t begin = at;
    at += character.size();
    if ((!first && !options_.continuing_prefix.empty()) || (last && !options_.word_suffix.empty())) {
      marked = (first ? "" : options_.continuing_prefix) + std::string(character) + (last ? options_.word_suffix : "");
      character = marked;
    }
    if (const auto id = vocabulary_.id(character)) {
      if (pending) push(*unknown_, pending_end);
      pending = false;
      push(*id, at);
      continue;
    }
    if (options_.byte_fallback && add_fallback_bytes(character, symbols)) {
      for (std::size_t i = 1; ends != nullptr && i <= character.size(); ++i) ends->push_back(std::min(begin + i, at));
      continue;
    }
    if (!options_.unknown_token) continue;  // dropped, as `tokenizers` does
    if (!unknown_)
      raise<DataError>("the tokenizer's unk_token {:?} is not in its vocabulary, but the text needs it",
                       *options_.unknown_token);
    if (pending && !options_.fuse_unknown) push(*unknown_, pending_end);
    pending = true;
    pending_end = at;
  }
  if (pending) push(*unknown_, pending_end);
}

/// Bytes of a token's text that it adds to a word: without the continuing prefix.
std::size_t BpeModel::added_text(TokenId id, bool first) const {
  const std::size_t size = vocabulary_.token(id)->size();
  return first ? size : size - std::min(size, options_.continuing_prefix.size());
}

/// The ends if the piece is nothing but the texts of its tokens; else leaves `ends` alone and returns false.
bool BpeModel::spelled_ends(std::string_view piece, std::span<const TokenId> ids,
                            std::vector<std::size_t>& ends) const {
  const std::size_t before = ends.size();
  std::size_t end = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string& token = *vocabulary_.token(ids[i]);
    const bool unclear = (unknown_ && ids[i] == *unknown_) || (options_.byte_fallback && token.starts_with("<0x"));
    end += added_text(ids[i], i == 0);
    if (i + 1 == ids.size() && token.ends_with(options_.word_suffix)) end -= options_.word_suffix.size();
    if (unclear || end > piece.size()) break;
    ends.push_back(end);
  }
  if (ends.size() - before == ids.size() && end == piece.size()) return true;
  ends.resize(before);
  return false;
}

void BpeModel::ends(std::string_view piece, std::span<const TokenId> ids, bool bytes,
                    std::vector<std::size_t>& ends) const {
  if (bytes) {  // each character of the byte-level alphabet is a byte
    std::size_t end = 0;
    for (const TokenId id : ids) {
      const std::string& token = *vocabulary_.token(id);
      end += static_cast<std::size_t>(std::count_if(
          token.begin(), token.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
      ends.push_back(std::min(end, piece.size()));
    }
    return;
  }
  if (spelled_ends(piece, ids, ends)) return;
  if (ids.size() == 1) return ends.push_back(piece.size());
  // What the model began with, joined until it has as much text as the token.
  std::vector<TokenId> symbols;
  std::vector<std::size_t> symbol_ends;
  first_symbols(piece, symbols, &symbol_ends);
  std::size_t next = 0, text = 0, wanted = 0;
  for (const TokenId id : ids) {
    wanted += added_text(id, wanted == 0);
    for (; next < symbols.size() && text < wanted; ++next) text += added_text(symbols[next], next == 0);
    ends.push_back(next > 0 ? symbol_ends[next - 1] : 0);
  }
}

void BpeModel::merge(std::vector<TokenId>& symbols) const {
  if (symbols.size() < 2) return;
  symbols.size() <= kScanMost ? merge_short(symbols) : merge_long(symbols);
}

void BpeModel::merge_short(std::vector<TokenId>& symbols) const {
  std::array<FlatMap::Value, kScanMost> pairs;  // pairs[i]: symbols i and i + 1
  std::size_t count = symbols.size();
  const auto look_up = [&](std::size_t i) {
    const auto* found =
        merges_.find(static_cast<std::uint32_t>(symbols[i]), static_cast<std::uint32_t>(symbols[i + 1]));
    pairs[i] = found ? *found : FlatMap::Value{kNoRank, 0};
  };
  for (std::size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i].first < pairs[best].first) best = i;
    }
    if (pairs[best].first == kNoRank) break;
    symbols[best] = static_cast<TokenId>(pairs[best].second);
    --count;
    for (std::size_t i = best + 1; i < count; ++i) symbols[i] = symbols[i + 1];
    for (std::size_t i = best + 1; i + 1 < count; ++i) pairs[i] = pairs[i + 1];
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  symbols.resize(count);
}

void BpeModel::merge_long(std::vector<TokenId>& symbols) const {
  struct Node {
    std::int32_t previous, next;
    std::uint32_t rank, merged;  // of this symbol and the next
  };
  struct Candidate {
    std::uint32_t rank;
    std::int32_t at;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };
  const auto count = static_cast<std::int32_t>(symbols.size());
  std::vector<Node> nodes(symbols.size());
  std::vector<Candidate> heap_storage;
  heap_storage.reserve(symbols.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap(std::greater<>(),
                                                                              std::move(heap_storage));
  const auto look_up = [&](std::int32_t at) {
    Node& node = nodes[static_cast<std::size_t>(at)];
    const auto* found = node.next >= count
                            ? nullptr
                            : merges_.find(static_cast<std::uint32_t>(symbols[static_cast<std::size_t>(at)]),
                                           static_cast<std::uint32_t>(symbols[static_cast<std::size_t>(node.next)]));
    node.rank = found ? found->first : kNoRank;
    if (!found) return;
    node.merged = found->second;
    heap.push({node.rank, at});
  };
  for (std::int32_t i = 0; i < count; ++i) nodes[static_cast<std::size_t>(i)] = {i - 1, i + 1, kNoRank, 0};
  for (std::int32_t i = 0; i + 1 < count; ++i) look_up(i);
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    Node& node = nodes[static_cast<std::size_t>(top.at)];
    if (node.rank != top.rank) continue;  // merged away, or into something else, since it was pushed
    Node& gone = nodes[static_cast<std::size_t>(node.next)];
    symbols[static_cast<std::size_t>(top.at)] = static_cast<TokenId>(node.merged);
    gone.rank = kNoRank;
    symbols[static_cast<std::size_t>(node.next)] = -1;
    node.next = gone.next;
    if (node.next < count) nodes[static_cast<std::size_t>(node.next)].previous = top.at;
    look_up(top.at);
    if (node.previous >= 0) look_up(node.previous);
  }
  std::erase(symbols, -1);
}

}  // namespace lorica::tokenizer
