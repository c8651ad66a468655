// A small per-thread cache from words to their ids: the words of a text repeat.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.hpp"

namespace lorica::tokenizer {

/// Direct-mapped, one cache line per entry; a word that collides takes the place. Shared by all models of a thread:
/// `owner` tells them apart.
class WordCache {
 public:
  static constexpr std::size_t kMostBytes = 26, kMostIds = 8;

  /// The cache of this thread.
  static WordCache& local() {
    static thread_local WordCache cache;
    return cache;
  }
  /// A number for a new model.
  static std::uint32_t new_owner();

  /// Appends the ids of `word` if they are known.
  bool find(std::uint32_t owner, std::string_view word, std::vector<TokenId>& ids) const {
    if (word.size() > kMostBytes || word.empty()) return false;
    const Entry& entry = entries_[slot_of(owner, word)];
    if (entry.owner != owner || entry.length != word.size() || std::memcmp(entry.word, word.data(), word.size()) != 0)
      return false;
    ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
    return true;
  }
  void store(std::uint32_t owner, std::string_view word, const TokenId* ids, std::size_t count) {
    if (word.size() > kMostBytes || word.empty() || count > kMostIds) return;
    Entry& entry = entries_[slot_of(owner, word)];
    entry.owner = owner;
    entry.length = static_cast<std::uint8_t>(word.size());
    entry.count = static_cast<std::uint8_t>(count);
    std::memcpy(entry.word, word.data(), word.size());
    std::memcpy(entry.ids, ids, count * sizeof(TokenId));
  }

 private:
  struct alignas(64) Entry {
    std::uint32_t owner;  ///< 0: empty
    std::uint8_t length, count;
    char word[kMostBytes];
    TokenId ids[kMostIds];
  };
  static_assert(sizeof(Entry) == 64);
  static constexpr int kBits = 15;

  static std::size_t slot_of(std::uint32_t owner, std::string_view word) {
    std::uint64_t hash = owner * 0x9E3779B97F4A7C15ULL + word.size();
    const char* at = word.data();
    std::size_t left = word.size();
    for (; left >= 8; at += 8, left -= 8) {
      std::uint64_t chunk;
      std::memcpy(&chunk, at, 8);
      hash = (hash ^ chunk) * 0xD6E8FEB86659FD93ULL;
      hash ^= hash >> 32;
    }
    std::uint64_t tail = 0;
    std::memcpy(&tail, at, left);
    hash = (hash ^ tail) * 0xD6E8FEB86659FD93ULL;
    return static_cast<std::size_t>((hash ^ hash >> 29) * 0x9E3779B97F4A7C15ULL >> (64 - kBits));
  }

  std::vector<Entry> entries_ = std::vector<Entry>(std::size_t{1} << kBits, Entry{});
};

}  // namespace lorica::tokenizer
