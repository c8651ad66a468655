// Unigram language model (Kudo 2018): of all ways to cut a text into tokens, the one with the highest sum of scores
// (Viterbi).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/byte_trie.hpp"
#include "tokenizer/model.hpp"

namespace lorica::tokenizer {

struct UnigramPiece {
  std::string token;
  double score;         ///< log probability
  bool in_text = true;  ///< false: never found in a text (SentencePiece's control, byte and unknown pieces)
};

class UnigramModel : public Model {
 public:
  /// `pieces` in the order of ids. Throws DataError naming `where` for an unknown id out of range.
  /// `single_precision`: sums in float, as the sentencepiece library does (`tokenizers` has double); it decides between
  /// near-equal cuts.
  UnigramModel(const std::vector<UnigramPiece>& pieces, std::optional<std::int64_t> unknown_id, bool byte_fallback,
               const std::string& where, bool single_precision = false);

  void encode(std::string_view piece, std::vector<TokenId>& ids) const override;
  void ends(std::string_view piece, std::span<const TokenId> ids, bool bytes,
            std::vector<std::size_t>& ends) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  /// The best way to reach a place in the text.
  struct Best {
    double score = 0;
    std::size_t from = std::string_view::npos;
    TokenId id = 0;
  };
  void search(std::string_view text, std::vector<Best>& best) const;
  /// The parts of the best cut, in order; neighbouring unknown ones are one.
  void cut(std::string_view piece, std::vector<std::string_view>& parts) const;
  /// Appends the ids of a part; returns whether they are its bytes.
  bool add_part(std::string_view part, std::vector<TokenId>& ids) const;
  [[noreturn]] void no_unknown() const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  ByteTrie trie_;
  double unknown_score_;
  std::optional<TokenId> unknown_;
  bool byte_fallback_, single_precision_;
  std::array<TokenId, 256> fallback_ids_{};
  std::uint32_t owner_;
};

}  // namespace lorica::tokenizer
