// What the files beside a tokenizer say and ids aren't made by: see special_roles.hpp.
#include <algorithm>
#include <array>
#include <set>

#include "tokenizer/special_roles.hpp"

namespace lorica::tokenizer {
namespace {

/// Keys of tokenizer_config.json that ids are made by, or that say nothing of ids or texts: lengths and padding of
/// batches of tensors, names of files and classes, the settings of downloads.
const std::set<std::string_view> kConfigKeys{"__type",
                                             "_commit_hash",
                                             "add_bos_token",
                                             "add_eos_token",
                                             "add_prefix_space",
                                             "added_tokens_decoder",
                                             "additional_special_tokens",
                                             "auto_map",
                                             "backend",
                                             "bos_token",
                                             "chat_template",
                                             "clean_up_tokenization_spaces",
                                             "cls_token",
                                             "eos_token",
                                             "errors",
                                             "extra_special_tokens",
                                             "is_local",
                                             "legacy",
                                             "local_files_only",
                                             "mask_token",
                                             "max_length",
                                             "model_input_names",
                                             "model_max_length",
                                             "model_specific_special_tokens",
                                             "name_or_path",
                                             "pad_to_multiple_of",
                                             "pad_token",
                                             "pad_token_type_id",
                                             "padding_side",
                                             "processor_class",
                                             "response_template",
                                             "return_token_type_ids",
                                             "sep_token",
                                             "sp_model_kwargs",
                                             "special_tokens_map_file",
                                             "spaces_between_special_tokens",
                                             "split_special_tokens",
                                             "stride",
                                             "tokenizer_class",
                                             "tokenizer_file",
                                             "tokenizer_type",
                                             "truncation_side",
                                             "truncation_strategy",
                                             "trust_remote_code",
                                             "unk_token",
                                             "use_default_system_prompt",
                                             "use_fast",
                                             "vocab_file"};
const std::set<std::string_view> kMapKeys{"additional_special_tokens",
                                          "bos_token",
                                          "cls_token",
                                          "eos_token",
                                          "extra_special_tokens",
                                          "mask_token",
                                          "pad_token",
                                          "sep_token",
                                          "unk_token"};

bool is_text_token(const nlohmann::json& value) {
  return value.is_string() || (value.is_object() && value.contains("content"));
}

/// Whether `around` puts the token before (`first`) or behind a text.
bool puts(const PostTemplate& around, std::optional<TokenId> token, bool first) {
  const auto text = std::find(around.begin(), around.end(), std::nullopt);
  return token && (first ? std::find(around.begin(), text, token) != text
                         : std::find(text, around.end(), token) != around.end());
}

}  // namespace

Account TokenizerFolder::account(const Pipeline& pipeline, bool from_model) const {
  using Kind = Account::Kind;
  Account account;
  const JsonView config = view(tokenizer_config_, "tokenizer_config.json");
  const auto aside = [&](const JsonView& file, std::string_view key, std::string_view reason) {
    account.leave_aside(Kind::metadata, file.where(), key, reason);
  };
  for (const auto& [key, value] : tokenizer_config_.items()) {
    const bool token = key.ends_with("_token") && (is_text_token(value) || value.is_null());
    if (!kConfigKeys.contains(key) && !token) aside(config, key, "no rule of this tokenizer goes by it");
  }
  const JsonView sampling = config["sp_model_kwargs"];
  if (!sampling.is_null() && !sampling.json().empty()) {
    aside(config, "sp_model_kwargs", "texts are cut in the best way, never sampled");
  }
  if (!from_model) {
    const char* reason = "tokenizer.json says itself what is done (as in transformers)";
    const auto own = roles(pipeline);
    for (const auto& [key, is] : {std::pair("add_bos_token", puts(pipeline.around, own.bos, true)),
                                  std::pair("add_eos_token", puts(pipeline.around, own.eos, false))}) {
      if (config[key].flag_or(is) != is) aside(config, key, reason);
    }
    if (config["add_prefix_space"].flag_or(false)) aside(config, "add_prefix_space", reason);
    if (config["legacy"].flag_or(false)) aside(config, "legacy", reason);
  }
  const JsonView map = view(special_map_, "special_tokens_map.json");
  const JsonView list = view(added_tokens_, "added_tokens.json");
  const char* older = "tokenizer_config.json has added_tokens_decoder, which goes before it (as in transformers)";
  for (const auto& [key, value] : special_map_.items()) {
    if (!kMapKeys.contains(key) && !is_text_token(value)) aside(map, key, "no rule of this tokenizer goes by it");
    if (has_decoder() && kMapKeys.contains(key) && config[key.c_str()].json() != value && key.ends_with("_token")) {
      const JsonView other = config[key.c_str()];
      const bool same =
          !other.is_null() && parse_named_token(other).content == parse_named_token(map[key.c_str()]).content;
      if (!same) aside(map, key, older);
    }
  }
  for (const auto& [content, id] : added_tokens_.items()) {
    const auto known = pipeline.added.id(content);
    const bool as_said = known && id.is_number_integer() && id.get<std::int64_t>() == *known;
    if (!as_said && has_decoder()) aside(list, content, older);
    if (!as_said && !has_decoder()) {
      aside(list, content, known ? "the tokenizer has another id for it" : "the tokenizer has another token of its id");
    }
  }
  return account;
}

}  // namespace lorica::tokenizer
