// See special_roles.hpp.
#include "tokenizer/special_roles.hpp"

#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"

namespace lorica::tokenizer {
namespace {

nlohmann::json read_json(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return nlohmann::json::object();
  try {
    nlohmann::json document = nlohmann::json::parse(read_file(path));
    if (!document.is_object()) raise<DataError>("{}: expected a JSON object", path.string());
    return document;
  } catch (const nlohmann::json::exception& error) {
    raise<DataError>("{}: not valid JSON: {}", path.string(), error.what());
  }
}

/// `"<s>"` or `{"content": "<s>", …}`.
std::optional<std::string> token_name(const JsonView& json) {
  if (json.is_null()) return std::nullopt;
  return json.json().is_object() ? json["content"].text() : json.text();
}

}  // namespace

TokenizerFolder::TokenizerFolder(const std::filesystem::path& folder)
    : folder_(folder),
      tokenizer_config_(read_json(folder / "tokenizer_config.json")),
      special_map_(read_json(folder / "special_tokens_map.json")),
      generation_config_(read_json(folder / "generation_config.json")),
      config_(read_json(folder / "config.json")) {}

JsonView TokenizerFolder::view(const nlohmann::json& document, const char* file) const {
  return {document, (folder_ / file).string()};
}

std::optional<TokenId> TokenizerFolder::role(const Pipeline& pipeline, const std::string& name) const {
  const std::string token_key = name + "_token", id_key = name + "_token_id";
  for (const JsonView& file :
       {view(tokenizer_config_, "tokenizer_config.json"), view(special_map_, "special_tokens_map.json")}) {
    const auto text = token_name(file[token_key.c_str()]);
    if (!text) continue;
    if (const auto id = pipeline.id(*text)) return id;
    spdlog::warn("{}: {} is {:?}, which the tokenizer does not have", file.where(), token_key, *text);
  }
  for (const JsonView& file : {view(generation_config_, "generation_config.json"), view(config_, "config.json")}) {
    JsonView id = file[id_key.c_str()];
    if (id.json().is_array() && id.size() > 0) id = id.at(0);
    if (id.json().is_number_integer() && id.json().get<std::int64_t>() >= 0) {
      const auto value = id.whole(kIdLimit - 1);
      if (pipeline.token(static_cast<TokenId>(value)) != nullptr) return static_cast<TokenId>(value);
    }
  }
  return std::nullopt;
}

SpecialRoles TokenizerFolder::roles(const Pipeline& pipeline) const {
  return {role(pipeline, "bos"), role(pipeline, "eos"), role(pipeline, "pad")};
}

std::string TokenizerFolder::chat_template() const {
  if (std::filesystem::exists(folder_ / "chat_template.jinja")) return read_file(folder_ / "chat_template.jinja");
  const JsonView found = view(tokenizer_config_, "tokenizer_config.json")["chat_template"];
  if (found.is_null()) return "";
  if (!found.json().is_array()) return found.text();
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found.at(i)["name"].text() == "default") return found.at(i)["template"].text();
  }
  return "";
}

SentencePieceOptions TokenizerFolder::sentencepiece_options() const {
  const JsonView config = view(tokenizer_config_, "tokenizer_config.json");
  SentencePieceOptions options;
  options.add_bos = config["add_bos_token"].flag_or(true);
  options.add_eos = config["add_eos_token"].flag_or(false);
  options.legacy = config["legacy"].flag_or(false);
  if (!config["add_prefix_space"].is_null()) options.add_prefix_space = config["add_prefix_space"].flag_or(true);
  const JsonView added = config["added_tokens_decoder"];
  if (added.is_null()) return options;
  if (!added.json().is_object()) added.wrong("an object");
  std::map<std::int64_t, AddedToken> by_id;
  for (const auto& [key, value] : added.json().items()) {
    if (key.empty() || key.size() > 8 ||
        !std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      raise<DataError>("{}: {:?} is not a token id", added.where(), key);
    }
    by_id[std::stoll(key)] = parse_added_token({value, added.where() + "." + key});
  }
  for (auto& [id, token] : by_id) options.added.push_back(std::move(token));
  return options;
}

}  // namespace lorica::tokenizer
