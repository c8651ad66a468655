// The `added_tokens` of tokenizer.json: texts that become one id wherever they stand, before the model sees anything.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tokenizer/byte_trie.hpp"
#include "tokenizer/json_view.hpp"
#include "tokenizer/normalizers.hpp"
#include "tokenizer/vocabulary.hpp"

namespace lorica::tokenizer {

struct AddedToken {
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = true, special = false;
  bool operator==(const AddedToken&) const = default;
};

class AddedTokens {
 public:
  /// A part of a text: an added token, or text in between.
  struct Part {
    Span span;
    std::optional<TokenId> id;
  };

  /// Adds tokens in order. One that the model (or an earlier one) has keeps that id; the others are numbered behind the
  /// vocabulary, as `tokenizers` does, whatever id the file gives.
  void add(const std::vector<AddedToken>& tokens, const Vocabulary& model, const Normalizers& normalizers);
  /// On: special tokens are not looked for in texts.
  void split_special(bool on);
  bool splits_special() const { return split_special_; }
  bool empty() const { return by_id_.empty(); }
  bool has_normalized() const { return !normalized_.empty(); }

  /// Cuts `text` at the tokens that are looked for before (`normalized` false) or after normalization.
  void find(std::string_view text, bool normalized, std::vector<Part>& parts) const;

  std::optional<TokenId> id(std::string_view content) const;
  /// nullptr if `id` is not an added token.
  const AddedToken* token(TokenId id) const;
  /// What stands for the token while decoding: its content, or its normalized form where that differs.
  const std::string* decoded_form(TokenId id) const;
  bool is_special(std::string_view content) const { return special_.contains(std::string(content)); }
  /// Calls visit(id, token) for all, in the order of ids.
  template <class Visit>
  void each(Visit visit) const {
    for (TokenId id = 0; id < id_end_; ++id) {
      if (const AddedToken* known = token(id)) visit(id, *known);
    }
  }
  /// One more than the highest id, or 0.
  TokenId id_end() const { return id_end_; }

 private:
  struct Entry {
    AddedToken token;
    std::string form;  ///< the content after normalization, if it is normalized
  };
  void rebuild();

  std::unordered_map<TokenId, Entry> by_id_;
  std::unordered_map<std::string, TokenId> by_content_;
  std::unordered_set<std::string> special_;
  ByteTrie raw_, normalized_;
  TokenId id_end_ = 0;
  bool split_special_ = false;
};

AddedToken parse_added_token(const JsonView& json);
/// A token named for a role, `"<s>"` or `{"content": "<s>", …}`: always special, and looked for before normalization
/// unless it says otherwise.
AddedToken parse_named_token(const JsonView& json);

}  // namespace lorica::tokenizer
