// The files beside a tokenizer: which of its tokens begin, end and pad a text, and the chat template.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "tokenizer/pipeline.hpp"
#include "tokenizer/sentencepiece.hpp"

namespace lorica::tokenizer {

struct SpecialRoles {
  std::optional<TokenId> bos, eos, pad;
};

/// tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json of a folder, as far as they
/// exist.
class TokenizerFolder {
 public:
  /// Throws DataError naming a file that is not valid JSON.
  explicit TokenizerFolder(const std::filesystem::path& folder);
  /// A role's token is named by tokenizer_config.json, else special_tokens_map.json; else its id by
  /// generation_config.json, else config.json (the first, where it is a list). A named token that does not exist is
  /// reported in the log and counts as absent.
  SpecialRoles roles(const Pipeline& pipeline) const;
  /// chat_template.jinja, else the one of tokenizer_config.json (of several, that called "default"); "" if there is
  /// none.
  std::string chat_template() const;
  SentencePieceOptions sentencepiece_options() const;

 private:
  JsonView view(const nlohmann::json& document, const char* file) const;
  std::optional<TokenId> role(const Pipeline& pipeline, const std::string& name) const;

  std::filesystem::path folder_;
  nlohmann::json tokenizer_config_, special_map_, generation_config_, config_;
};

}  // namespace lorica::tokenizer
