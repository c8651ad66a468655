// The tokens that the files beside a tokenizer name: see special_roles.hpp.
#include <algorithm>
#include <array>
#include <map>

#include "base/error.hpp"
#include "tokenizer/special_roles.hpp"

namespace lorica::tokenizer {
namespace {

constexpr std::array<const char*, 7> kRoles{"bos_token", "eos_token", "unk_token", "sep_token",
                                            "pad_token", "cls_token", "mask_token"};

AddedToken special_token(std::string content) {
  return {.content = std::move(content), .normalized = false, .special = true};
}

/// A list of tokens, or named ones ({"image_token": "<image>"}).
void append_tokens(const JsonView& json, std::vector<AddedToken>& tokens) {
  if (json.is_null()) return;
  if (json.json().is_object()) {
    for (const auto& [key, value] : json.json().items()) {
      tokens.push_back(parse_named_token({value, json.where() + "." + key}));
    }
    return;
  }
  for (std::size_t i = 0; i < json.size(); ++i) tokens.push_back(parse_named_token(json.at(i)));
}

std::int64_t parse_id(const std::string& key, const std::string& where) {
  const bool digits = !key.empty() && key.size() <= 8 &&
                      std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) raise<DataError>("{}: {:?} is not a token id", where, key);
  return std::stoll(key);
}

std::vector<AddedToken> in_order(const std::map<std::int64_t, AddedToken>& by_id) {
  std::vector<AddedToken> tokens;
  for (const auto& [id, token] : by_id) tokens.push_back(token);
  return tokens;
}

}  // namespace

AddedToken parse_named_token(const JsonView& json) {
  if (!json.json().is_object()) return special_token(json.text());
  AddedToken token = parse_added_token(json);
  token.special = true;
  token.normalized = json["normalized"].flag_or(false);
  return token;
}

JsonView TokenizerFolder::named(const std::string& key) const {
  const JsonView map = view(special_map_, "special_tokens_map.json")[key.c_str()];
  if (!has_decoder() && !map.is_null()) return map;
  return view(tokenizer_config_, "tokenizer_config.json")[key.c_str()];
}

std::vector<AddedToken> TokenizerFolder::decoder_tokens() const {
  const JsonView added = view(tokenizer_config_, "tokenizer_config.json")["added_tokens_decoder"];
  if (added.is_null()) return {};
  if (!added.json().is_object()) added.wrong("an object");
  std::map<std::int64_t, AddedToken> by_id;
  for (const auto& [key, value] : added.json().items()) {
    by_id[parse_id(key, added.where())] = parse_added_token({value, added.where() + "." + key});
  }
  return in_order(by_id);
}

/// added_tokens.json: texts and ids; an id that the tokenizer's own added tokens have is theirs.
std::vector<AddedToken> TokenizerFolder::listed_tokens(const Pipeline& pipeline) const {
  const JsonView file = view(added_tokens_, "added_tokens.json");
  const auto roles = role_tokens();
  std::map<std::int64_t, AddedToken> by_id;
  for (const auto& [content, id] : file.json().items()) {
    const auto number = JsonView(id, fmt::format("{}[{:?}]", file.where(), content)).whole(kIdLimit - 1);
    const bool special =
        std::any_of(roles.begin(), roles.end(), [&](const AddedToken& token) { return token.content == content; });
    const AddedToken* own = pipeline.added.token(static_cast<TokenId>(number));
    if (own == nullptr) by_id[number] = {.content = content, .normalized = !special, .special = special};
  }
  return in_order(by_id);
}

/// Tokens that have a role, and other special ones.
std::vector<AddedToken> TokenizerFolder::role_tokens() const {
  std::vector<AddedToken> tokens;
  for (const char* role : kRoles) {
    const JsonView token = named(role);
    if (!token.is_null()) tokens.push_back(parse_named_token(token));
  }
  append_tokens(named("model_specific_special_tokens"), tokens);
  append_tokens(named("extra_special_tokens"), tokens);
  if (named("extra_special_tokens").is_null()) append_tokens(named("additional_special_tokens"), tokens);
  return tokens;
}

void TokenizerFolder::add_tokens(Pipeline& pipeline) const {
  const auto add = [&](const std::vector<AddedToken>& tokens) {
    pipeline.added.add(tokens, pipeline.model->vocabulary(), pipeline.normalizers);
  };
  std::vector<AddedToken> tokens = has_decoder() ? decoder_tokens() : listed_tokens(pipeline);
  const auto roles = role_tokens();
  for (AddedToken& token : tokens) {
    const bool special =
        std::any_of(roles.begin(), roles.end(), [&](const AddedToken& role) { return role.content == token.content; });
    token.special = token.special || special;
  }
  add(tokens);
  tokens.clear();
  for (const AddedToken& role : roles) {
    const auto id = pipeline.added.id(role.content);
    tokens.push_back(id ? *pipeline.added.token(*id) : role);  // one that is there keeps its other flags
    tokens.back().special = true;
  }
  add(tokens);
  const bool split = view(tokenizer_config_, "tokenizer_config.json")["split_special_tokens"].flag_or(false);
  pipeline.added.split_special(split);
}

}  // namespace lorica::tokenizer
