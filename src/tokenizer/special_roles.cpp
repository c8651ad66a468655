// See special_roles.hpp.
#include "tokenizer/special_roles.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/files.hpp"

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

/// Classes of transformers that number the pieces of their model file in their own way (fairseq's order, sentinels).
constexpr std::array<std::string_view, 20> kRenumbering{
    "AlbertTokenizer",      "BarthezTokenizer",   "BartphoTokenizer", "BigBirdTokenizer",    "CamembertTokenizer",
    "CpmTokenizer",         "DebertaV2Tokenizer", "FNetTokenizer",    "M2M100Tokenizer",     "MBart50Tokenizer",
    "MBartTokenizer",       "NllbTokenizer",      "PegasusTokenizer", "PLBartTokenizer",     "Speech2TextTokenizer",
    "SeamlessM4TTokenizer", "T5Tokenizer",        "XGLMTokenizer",    "XLMRobertaTokenizer", "XLNetTokenizer"};

void refuse_renumbering(const JsonView& name, const std::filesystem::path& folder) {
  std::string kind = name.text_or("");
  if (kind.ends_with("Fast")) kind.resize(kind.size() - 4);
  if (std::find(kRenumbering.begin(), kRenumbering.end(), kind) == kRenumbering.end()) return;
  raise<DataError>(
      "{} is {}, which numbers the pieces of its model file anew: a tokenizer.json is needed. In Python: "
      "AutoTokenizer.from_pretrained(\"{}\").save_pretrained(\"{}\")",
      name.where(), kind, folder.string(), folder.string());
}

}  // namespace

TokenizerFolder::TokenizerFolder(const std::filesystem::path& folder)
    : folder_(folder),
      tokenizer_config_(read_json(folder / "tokenizer_config.json")),
      special_map_(read_json(folder / "special_tokens_map.json")),
      added_tokens_(read_json(folder / "added_tokens.json")),
      generation_config_(read_json(folder / "generation_config.json")),
      config_(read_json(folder / "config.json")) {}

JsonView TokenizerFolder::view(const nlohmann::json& document, const char* file) const {
  return {document, (folder_ / file).string()};
}

std::optional<TokenId> TokenizerFolder::role(const Pipeline& pipeline, const std::string& name) const {
  const std::string id_key = name + "_token_id";
  const JsonView token = named(name + "_token");
  if (!token.is_null()) return pipeline.id(parse_named_token(token).content);
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
  refuse_renumbering(config["tokenizer_class"], folder_);
  return options;
}

}  // namespace lorica::tokenizer
