// See pipeline.hpp: one text through the parts, in the order of the Rust library.
#include "tokenizer/pipeline.hpp"

#include "base/error.hpp"

namespace lorica::tokenizer {
namespace {

SplitScratch& scratch() {
  static thread_local SplitScratch instance;
  return instance;
}

}  // namespace

void Pipeline::finish(const std::string& where) {
  for (const auto& id : around) {
    if (id && token(*id) == nullptr)
      raise<DataError>("{}: the post-processor adds the id {}, which no token has", where, *id);
  }
  bytes = model->takes_bytes() && pre_tokenizers.leave_bytes();
}

std::vector<TokenId> Pipeline::encode(std::string_view text, bool add_special_tokens) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 4);
  std::string storage;
  const std::string_view clean = sanitize(text, storage);
  if (!add_special_tokens) {
    encode_text(clean, ids);
    return ids;
  }
  for (const auto& id : around) {
    if (id) {
      ids.push_back(*id);
    } else {
      encode_text(clean, ids);
    }
  }
  return ids;
}

void Pipeline::encode_text(std::string_view text, std::vector<TokenId>& ids) const {
  if (added.empty()) return encode_segment(text, true, ids);
  std::vector<AddedTokens::Part> parts;
  added.find(text, false, parts);
  for (const auto& [span, id] : parts) {
    if (id) {
      ids.push_back(*id);
    } else {
      encode_segment(text.substr(span.begin, span.end - span.begin), span.begin == 0, ids);
    }
  }
}

void Pipeline::encode_segment(std::string_view text, bool first, std::vector<TokenId>& ids) const {
  NormalizedText normalized;
  if (!normalizers.empty()) {
    normalized = {std::string(text), first};
    normalizers.apply(normalized);
    text = normalized.text;
    first = normalized.at_start;
  }
  if (!added.has_normalized()) return encode_pieces(text, first, ids);
  std::vector<AddedTokens::Part> parts;
  added.find(text, true, parts);
  for (const auto& [span, id] : parts) {
    if (id) {
      ids.push_back(*id);
    } else {
      encode_pieces(text.substr(span.begin, span.end - span.begin), first && span.begin == 0, ids);
    }
  }
}

void Pipeline::encode_pieces(std::string_view text, bool first, std::vector<TokenId>& ids) const {
  if (text.empty()) return;
  SplitScratch& s = scratch();
  s.arena.clear();
  s.pieces.assign(1, Piece{text, first});
  pre_tokenizers.apply(s);
  for (const Piece& piece : s.pieces) {
    if (bytes) {
      model->encode_bytes(piece.text, ids);
    } else {
      model->encode(piece.text, ids);
    }
  }
}

const std::string* Pipeline::token(TokenId id) const {
  const AddedToken* special = added.token(id);
  return special ? &special->content : model->vocabulary().token(id);
}

std::optional<TokenId> Pipeline::id(std::string_view token) const {
  const auto special = added.id(token);
  return special ? special : model->vocabulary().id(token);
}

std::string Pipeline::decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    const std::string* form = added.decoded_form(id);
    const std::string* text = form ? form : model->vocabulary().token(id);
    if (text == nullptr)
      raise<DataError>("cannot decode: no token has the id {} (the vocabulary ends at {})", id, id_end() - 1);
    if (!skip_special_tokens || !added.is_special(*text)) tokens.push_back(*text);
  }
  return decoders.apply(std::move(tokens));
}

}  // namespace lorica::tokenizer
