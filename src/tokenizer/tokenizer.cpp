// The public class: finds the files of a tokenizer, and encodes batches on all threads.
#include "tokenizer/tokenizer.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"
#include "base/parallel.hpp"
#include "tokenizer/pipeline.hpp"
#include "tokenizer/sentencepiece.hpp"
#include "tokenizer/special_roles.hpp"

namespace lorica::tokenizer {

namespace fs = std::filesystem;

namespace {

/// Raised whenever the same files can give other ids than before.
constexpr std::uint64_t kRulesVersion = 2;
constexpr std::int64_t kBatchGrain = 8;

/// What a folder without a tokenizer has instead, and what to do about it.
std::string way_out(const fs::path& folder) {
  const auto has = [&](const char* name) { return fs::exists(folder / name); };
  const std::string convert =
      fmt::format("In Python: AutoTokenizer.from_pretrained(\"{0}\").save_pretrained(\"{0}\") writes a tokenizer.json.",
                  folder.string());
  if (has("adapter_config.json")) return "It is an adapter: give its base model as --model_name and it as --adapter.";
  if (has("vocab.json") || has("vocab.txt")) return "It has a vocabulary of an older kind. " + convert;
  for (const char* name : {"spiece.model", "sentencepiece.bpe.model", "tekken.json", "tokenizer.tiktoken"}) {
    if (has(name)) return fmt::format("It has a {}. {}", name, convert);
  }
  if (has("tokenizer_config.json")) {
    return "It has a tokenizer_config.json, which belongs to one of them: copy the tokenizer.json from where the model "
           "comes from.";
  }
  return "Copy the tokenizer.json, tokenizer_config.json and special_tokens_map.json from where the model comes from.";
}

fs::path tokenizer_file(const fs::path& path) {
  if (!fs::exists(path))
    raise<DataError>("{}: no such file or folder (expected a tokenizer.json, a tokenizer.model or a folder with one)",
                     path.string());
  if (!fs::is_directory(path)) return path;
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    if (fs::exists(path / name)) return path / name;
  }
  raise<DataError>("{}: this folder holds neither a tokenizer.json nor a tokenizer.model. {}", path.string(),
                   way_out(path));
}

/// Everything of a token that changes ids or their decoding.
void add_token(ContentHash& hash, const AddedToken& token, TokenId id) {
  hash.add_field(token.content).add_field(static_cast<std::uint64_t>(id));
  hash.add_field(static_cast<std::uint64_t>(token.single_word) | static_cast<std::uint64_t>(token.lstrip) << 1 |
                 static_cast<std::uint64_t>(token.rstrip) << 2 | static_cast<std::uint64_t>(token.normalized) << 3 |
                 static_cast<std::uint64_t>(token.special) << 4);
}

}  // namespace

struct Tokenizer::State {
  Pipeline pipeline;
  SpecialRoles roles;
  Account account;
  std::string chat_template, hash;
};

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const fs::path& path) {
  const fs::path file = tokenizer_file(path);
  const fs::path parent = file.parent_path().empty() ? fs::path(".") : file.parent_path();
  const TokenizerFolder folder(parent);
  const std::string bytes = read_file(file), where = file.string();
  ContentHash hash;
  hash.add_field(kRulesVersion).add_field(bytes);
  auto state = std::make_unique<State>();
  if (file.extension() == ".json") {
    state->pipeline = parse_tokenizer_json(bytes, where);
  } else {
    const SentencePieceOptions options = folder.sentencepiece_options();
    state->pipeline = sentencepiece_pipeline(parse_sentencepiece(bytes, where), options, where);
    hash.add_field(static_cast<std::uint64_t>(options.add_bos) | static_cast<std::uint64_t>(options.add_eos) << 1 |
                   static_cast<std::uint64_t>(options.legacy) << 2 |
                   static_cast<std::uint64_t>(options.add_prefix_space.value_or(true)) << 3 |
                   static_cast<std::uint64_t>(options.add_prefix_space.has_value()) << 4);
    if (!fs::exists(parent / "tokenizer_config.json")) {
      spdlog::warn(
          "{} has no tokenizer_config.json beside it: BOS is put before each text, and no tokens are added to the "
          "model's own. Copy tokenizer_config.json (or tokenizer.json) from where the model comes from.",
          where);
    }
  }
  folder.add_tokens(state->pipeline);
  state->pipeline.added.each([&](TokenId id, const AddedToken& token) { add_token(hash, token, id); });
  hash.add_field(std::uint64_t{state->pipeline.added.splits_special()});
  state->roles = folder.roles(state->pipeline);
  state->account = folder.account(state->pipeline, file.extension() != ".json");
  state->chat_template = folder.chat_template();
  for (const auto& role : {state->roles.bos, state->roles.eos, state->roles.pad}) {
    hash.add_field(static_cast<std::uint64_t>(role.value_or(-1)));
  }
  state->hash = hash.hex();
  return Tokenizer(std::move(state));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  return state_->pipeline.encode(text, add_special_tokens);
}

Encoding Tokenizer::encode_with_spans(std::string_view text, bool add_special_tokens) const {
  return state_->pipeline.encode_with_spans(text, add_special_tokens);
}

std::vector<std::vector<TokenId>> Tokenizer::encode_batch(const std::vector<std::string_view>& texts,
                                                          bool add_special_tokens) const {
  std::vector<std::vector<TokenId>> results(texts.size());
  parallel_for(static_cast<std::int64_t>(texts.size()), kBatchGrain, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      results[i] = encode(texts[i], add_special_tokens);
    }
  });
  return results;
}

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const {
  return state_->pipeline.decode(ids, skip_special_tokens);
}

std::optional<std::string> Tokenizer::token(TokenId id) const {
  const std::string* text = state_->pipeline.token(id);
  return text ? std::optional(*text) : std::nullopt;
}
std::optional<TokenId> Tokenizer::id(std::string_view token) const {
  return state_->pipeline.id(token);
}
std::int64_t Tokenizer::vocabulary_size() const {
  return state_->pipeline.id_end();
}
bool Tokenizer::is_special(TokenId id) const {
  const AddedToken* token = state_->pipeline.added.token(id);
  return token != nullptr && token->special;
}
std::optional<TokenId> Tokenizer::bos() const {
  return state_->roles.bos;
}
std::optional<TokenId> Tokenizer::eos() const {
  return state_->roles.eos;
}
std::optional<std::string> Tokenizer::eos_text() const {
  if (!eos()) return std::nullopt;
  const AddedToken* token = state_->pipeline.added.token(*eos());
  if (token == nullptr || token->single_word) return std::nullopt;
  // A token that is looked for after normalization may be found at the start of a text only.
  const auto stands_in = [&](const std::string& text) {
    const auto ids = encode(text, false);
    return std::count(ids.begin(), ids.end(), *eos()) == 1;
  };
  const bool anywhere = stands_in(token->content) && stands_in("a" + token->content + "a");
  return anywhere ? std::optional(token->content) : std::nullopt;
}
std::optional<TokenId> Tokenizer::pad() const {
  return state_->roles.pad;
}
const std::string& Tokenizer::chat_template() const {
  return state_->chat_template;
}
const Account& Tokenizer::account() const {
  return state_->account;
}
const std::string& Tokenizer::content_hash() const {
  return state_->hash;
}

}  // namespace lorica::tokenizer
