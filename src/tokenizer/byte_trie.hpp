// A trie over bytes: which entries of a vocabulary begin at a place in a text.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "tokenizer/flat_map.hpp"

namespace lorica::tokenizer {

class ByteTrie {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  /// Adds an entry; one that is there already keeps its value unless `replace`. An empty one is ignored.
  void add(std::string_view text, std::uint32_t value, bool replace) {
    if (text.empty()) return;
    std::uint32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      if (i == 0) starts_[byte] = true;
      const bool last = i + 1 == text.size();
      const FlatMap::Value* edge = edges_.find(node, byte);
      FlatMap::Value next = edge ? *edge : FlatMap::Value{++nodes_, kNone};
      if (last && (replace || next.second == kNone)) next.second = value;
      if (!edge || last) edges_.set(node, byte, next);
      node = next.first;
    }
  }

  /// Calls visit(length, value) for each entry that `text` begins with, shortest first.
  template <class Visit>
  void prefixes(std::string_view text, Visit visit) const {
    std::uint32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const FlatMap::Value* edge = edges_.find(node, static_cast<unsigned char>(text[i]));
      if (!edge) return;
      if (edge->second != kNone) visit(i + 1, edge->second);
      node = edge->first;
    }
  }

  /// Whether an entry begins with this byte.
  bool starts_with(unsigned char byte) const { return starts_[byte]; }
  bool empty() const { return nodes_ == 0; }

 private:
  FlatMap edges_;  // (node, byte) -> (node, value of the entry that ends there)
  std::uint32_t nodes_ = 0;
  std::array<bool, 256> starts_{};
};

}  // namespace lorica::tokenizer
