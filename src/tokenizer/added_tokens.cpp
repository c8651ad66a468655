// See added_tokens.hpp. The order of steps is that of `tokenizers`' added_vocabulary.
#include "tokenizer/added_tokens.hpp"

#include <algorithm>
#include <map>

#include "base/error.hpp"

namespace lorica::tokenizer {
namespace {

bool is_word(const char* at) {
  return (unicode_flags(decode_utf8(at).value) & kTextWord) != 0;
}
bool is_space(const char* at) {
  return (unicode_flags(decode_utf8(at).value) & kWhiteSpace) != 0;
}

/// Whether no word character touches the span.
bool stands_alone(std::string_view text, Span span) {
  const char* base = text.data();
  return (span.begin == 0 || !is_word(previous_utf8(base, base + span.begin))) &&
         (span.end == text.size() || !is_word(base + span.end));
}

std::size_t spaces_before(std::string_view text, std::size_t at) {
  while (at > 0) {
    const char* previous = previous_utf8(text.data(), text.data() + at);
    if (!is_space(previous)) break;
    at = static_cast<std::size_t>(previous - text.data());
  }
  return at;
}

std::size_t spaces_after(std::string_view text, std::size_t at) {
  while (at < text.size() && is_space(text.data() + at)) at += utf8_length(static_cast<unsigned char>(text[at]));
  return at;
}

}  // namespace

AddedToken parse_added_token(const JsonView& json) {
  return {json["content"].text(),        json["single_word"].flag_or(false), json["lstrip"].flag_or(false),
          json["rstrip"].flag_or(false), json["normalized"].flag_or(true),   json["special"].flag_or(false)};
}

void AddedTokens::add(const std::vector<AddedToken>& tokens, const Vocabulary& model, const Normalizers& normalizers) {
  const auto model_size = static_cast<TokenId>(model.size());
  TokenId next = by_id_.empty() ? model_size : std::max(id_end_, model_size);
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    std::optional<TokenId> known = id(token.content);
    if (known && by_id_.at(*known).token == token) continue;
    if (!known) known = model.id(token.content);
    const TokenId id = known ? *known : next++;
    if (id >= kIdLimit)
      raise<DataError>("the added token {:?} gets the id {}, beyond {}", token.content, id, kIdLimit - 1);
    NormalizedText form{token.content};
    if (token.normalized) normalizers.apply(form);
    by_content_[token.content] = id;
    if (token.special) special_.insert(token.content);
    by_id_[id] = {token, std::move(form.text)};
    id_end_ = std::max(id_end_, id + 1);
  }
  rebuild();
}

void AddedTokens::split_special(bool on) {
  if (on == split_special_) return;
  split_special_ = on;
  rebuild();
}

void AddedTokens::rebuild() {
  raw_ = {};
  normalized_ = {};
  const std::map<TokenId, const Entry*> ordered = [this] {
    std::map<TokenId, const Entry*> map;
    for (const auto& [id, entry] : by_id_) map[id] = &entry;
    return map;
  }();
  for (const auto& [id, entry] : ordered) {
    if (split_special_ && entry->token.special) continue;
    (entry->token.normalized ? normalized_ : raw_).add(entry->form, static_cast<std::uint32_t>(id), false);
  }
}

void AddedTokens::find(std::string_view text, bool normalized, std::vector<Part>& parts) const {
  const ByteTrie& trie = normalized ? normalized_ : raw_;
  std::size_t done = 0;
  for (std::size_t at = 0; !trie.empty() && at < text.size();) {
    if (!trie.starts_with(static_cast<unsigned char>(text[at]))) {
      ++at;
      continue;
    }
    Span span{at, at};
    TokenId id = 0;
    trie.prefixes(text.substr(at), [&](std::size_t length, std::uint32_t value) {
      span.end = at + length;  // the longest comes last
      id = static_cast<TokenId>(value);
    });
    if (span.end == at) {
      ++at;
      continue;
    }
    at = span.end;
    const AddedToken& token = by_id_.at(id).token;
    if (token.single_word && !stands_alone(text, span)) continue;
    if (token.lstrip) span.begin = std::max(spaces_before(text, span.begin), done);
    if (token.rstrip) span.end = spaces_after(text, span.end);
    if (done < span.begin) parts.push_back({{done, span.begin}, std::nullopt});
    parts.push_back({span, id});
    done = span.end;
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, std::nullopt});
}

std::optional<TokenId> AddedTokens::id(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? std::nullopt : std::optional(found->second);
}

const AddedToken* AddedTokens::token(TokenId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second.token;
}

const std::string* AddedTokens::decoded_form(TokenId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second.form;
}

}  // namespace lorica::tokenizer
