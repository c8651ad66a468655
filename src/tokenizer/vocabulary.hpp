// Token texts and ids, both ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/tokenizer.hpp"

namespace lorica::tokenizer {

/// Ids at or above this are refused: no model's embedding is that large, and tables here are as long as the highest id.
inline constexpr TokenId kIdLimit = 1 << 24;

class Vocabulary {
 public:
  /// Adds a token; for one that is there already the new id counts. Throws DataError (naming `where`) for an id out of
  /// range.
  void add(std::string_view token, std::int64_t id, const std::string& where);
  std::optional<TokenId> id(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  /// The token of an id, or nullptr.
  const std::string* token(TokenId id) const;
  /// Number of different tokens.
  std::size_t size() const { return ids_.size(); }
  /// One more than the highest id.
  TokenId id_end() const { return static_cast<TokenId>(tokens_.size()); }

  /// Calls visit(token, id) for all, in the order of ids.
  template <class Visit>
  void each(Visit visit) const {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (present_[i]) visit(tokens_[i], static_cast<TokenId>(i));
    }
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::vector<std::string> tokens_;
  std::vector<bool> present_;
};

}  // namespace lorica::tokenizer
