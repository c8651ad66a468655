// Byte pair encoding (Sennrich et al. 2016): joins neighbouring tokens, the best-ranked pair first, until no pair is in
// the table of merges.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/flat_map.hpp"
#include "tokenizer/model.hpp"

namespace lorica::tokenizer {

/// A pair of tokens that is joined; the lowest rank first, and of equal ranks the leftmost pair.
struct BpeMerge {
  std::string left, right;
  std::uint32_t rank;
};

struct BpeOptions {
  std::optional<std::string> unknown_token;
  std::string continuing_prefix, word_suffix;
  bool fuse_unknown = false, byte_fallback = false, ignore_merges = false;
};

class BpeModel : public Model {
 public:
  /// Of merges of the same pair the last counts. Throws DataError naming `where` if one needs a token that the
  /// vocabulary lacks.
  BpeModel(Vocabulary vocabulary, const std::vector<BpeMerge>& merges, BpeOptions options, const std::string& where);

  void encode(std::string_view piece, std::vector<TokenId>& ids) const override;
  bool takes_bytes() const override { return takes_bytes_; }
  void encode_bytes(std::string_view piece, std::vector<TokenId>& ids) const override;
  void ends(std::string_view piece, std::span<const TokenId> ids, bool bytes,
            std::vector<std::size_t>& ends) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  void add_merges(const std::vector<BpeMerge>& merges, const std::string& where);
  void prepare_bytes();
  void prepare_word_cuts();
  void encode_word(std::string_view word, std::vector<TokenId>& ids) const;
  /// `ends`, if not null, gets where in the word each of the symbols ends.
  void first_symbols(std::string_view word, std::vector<TokenId>& symbols,
                     std::vector<std::size_t>* ends = nullptr) const;
  bool spelled_ends(std::string_view piece, std::span<const TokenId> ids, std::vector<std::size_t>& ends) const;
  std::size_t added_text(TokenId id, bool first) const;
  bool add_fallback_bytes(std::string_view character, std::vector<TokenId>& symbols) const;
  void merge(std::vector<TokenId>& symbols) const;
  void merge_short(std::vector<TokenId>& symbols) const;
  void merge_long(std::vector<TokenId>& symbols) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::optional<TokenId> unknown_;
  FlatMap merges_;                           // (left id, right id) -> (rank, id of both)
  std::array<TokenId, 256> byte_ids_{};      // byte-level: id of the byte's character
  std::array<TokenId, 256> fallback_ids_{};  // id of <0xNN>, or -1
  Vocabulary raw_words_;  // ignore_merges on raw bytes: the vocabulary read back from the byte-level alphabet
  bool takes_bytes_ = false, cuts_words_ = false;
  std::uint32_t owner_;
};

}  // namespace lorica::tokenizer
