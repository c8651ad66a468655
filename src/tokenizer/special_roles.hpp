// The files beside a tokenizer: tokens that only they name, which of its tokens begin, end and pad a text, the chat
// template, and an account of what they say that isn't gone by. Precedence is that of transformers 5.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/account.hpp"
#include "tokenizer/pipeline.hpp"
#include "tokenizer/sentencepiece.hpp"

namespace lorica::tokenizer {

struct SpecialRoles {
  std::optional<TokenId> bos, eos, pad;
};

/// tokenizer_config.json, special_tokens_map.json, added_tokens.json, generation_config.json and config.json of a
/// folder, as far as they exist. Where tokenizer_config.json has added_tokens_decoder, special_tokens_map.json and
/// added_tokens.json are older copies and not read; else what special_tokens_map.json says goes before
/// tokenizer_config.json.
class TokenizerFolder {
 public:
  /// Throws DataError naming a file that is not valid JSON.
  explicit TokenizerFolder(const std::filesystem::path& folder);
  /// Adds the tokens that the files name and the pipeline does not know yet, in order of their ids, then those that are
  /// named for a role; and what they say of split_special_tokens.
  void add_tokens(Pipeline& pipeline) const;
  /// A role's token is named by the files, else its id by generation_config.json, else config.json (the first, where it
  /// is a list).
  SpecialRoles roles(const Pipeline& pipeline) const;
  /// chat_template.jinja, else the one of tokenizer_config.json (of several, that called "default"); "" if there is
  /// none.
  std::string chat_template() const;
  /// Throws DataError where tokenizer_class names one that numbers the pieces of a model file anew.
  SentencePieceOptions sentencepiece_options() const;
  /// What the files say of ids and isn't gone by. `from_model`: the tokenizer is a tokenizer.model, to which more keys
  /// apply than to a tokenizer.json.
  Account account(const Pipeline& pipeline, bool from_model) const;

 private:
  JsonView view(const nlohmann::json& document, const char* file) const;
  std::optional<TokenId> role(const Pipeline& pipeline, const std::string& name) const;
  bool has_decoder() const { return tokenizer_config_.contains("added_tokens_decoder"); }
  /// A key of special_tokens_map.json where that counts, else of tokenizer_config.json; null if neither has it.
  JsonView named(const std::string& key) const;
  std::vector<AddedToken> decoder_tokens() const;
  std::vector<AddedToken> listed_tokens(const Pipeline& pipeline) const;
  std::vector<AddedToken> role_tokens() const;

  std::filesystem::path folder_;
  nlohmann::json tokenizer_config_, special_map_, added_tokens_, generation_config_, config_;
};

}  // namespace lorica::tokenizer
