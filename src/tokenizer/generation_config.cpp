// See generation_config.hpp.
#include "tokenizer/generation_config.hpp"

#include <algorithm>
#include <array>

#include "base/files.hpp"
#include "tokenizer/json_view.hpp"
#include "tokenizer/vocabulary.hpp"

namespace lorica::tokenizer {
namespace {

/// Keys that say nothing of the text: ids for padding and beginning, how the file was made, what is returned beside.
constexpr std::array<std::string_view, 13> kNeutral{
    "_from_model_config",   "bos_token_id",      "decoder_start_token_id",
    "eos_token_id",         "output_attentions", "output_hidden_states",
    "output_scores",        "pad_token_id",      "return_dict_in_generate",
    "transformers_version", "use_cache",         "cache_implementation",
    "output_logits"};

nlohmann::json read_object(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return nlohmann::json::object();
  try {
    auto document = nlohmann::json::parse(read_file(file));
    if (!document.is_object()) raise<DataError>("{}: expected a JSON object", file.string());
    return document;
  } catch (const nlohmann::json::exception& error) {
    raise<DataError>("{}: not valid JSON: {}", file.string(), error.what());
  }
}

TokenId parse_id(const JsonView& json) {
  return static_cast<TokenId>(json.whole(kIdLimit - 1));
}

}  // namespace

GenerationConfig read_generation_config(const std::filesystem::path& folder) {
  const auto file = folder / "generation_config.json";
  const auto document = read_object(file);
  const JsonView root(document, file.string());
  GenerationConfig config;
  const JsonView eos = root["eos_token_id"];
  if (eos.json().is_array()) {
    for (std::size_t i = 0; i < eos.size(); ++i) config.eos_ids.push_back(parse_id(eos.at(i)));
  } else if (!eos.is_null()) {
    config.eos_ids.push_back(parse_id(eos));
  }
  for (const auto& [key, value] : document.items()) {
    if (value.is_null() || std::find(kNeutral.begin(), kNeutral.end(), key) != kNeutral.end()) continue;
    config.account.leave_aside(Account::Kind::metadata, file.string(), key,
                               "generate goes by its own options (--temperature, --top_k, --top_p, --max_new_tokens)");
  }
  return config;
}

}  // namespace lorica::tokenizer
