// See pipeline.hpp: one text through the parts, in the order of the Rust library.
#include "tokenizer/pipeline.hpp"

#include <algorithm>
#include <limits>

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

Pipeline::Source Pipeline::Source::part(Span span) const {
  return {text.substr(span.begin, span.end - span.begin), first && span.begin == 0, start + span.begin,
          places == nullptr ? nullptr : places + span.begin};
}

TextSpan Pipeline::Source::place(Span span) const {
  if (places != nullptr) return {places[span.begin].begin, places[span.end - 1].end};
  return {static_cast<std::uint32_t>(start + span.begin), static_cast<std::uint32_t>(start + span.end)};
}

std::vector<TokenId> Pipeline::encode(std::string_view text, bool add_special_tokens) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 4);
  std::string storage;
  Output out{ids};
  encode_around({sanitize(text, storage)}, add_special_tokens, out);
  return ids;
}

Encoding Pipeline::encode_with_spans(std::string_view text, bool add_special_tokens) const {
  if (text.size() > std::numeric_limits<std::uint32_t>::max())
    raise<DataError>("a text of {} bytes: the places of its tokens are told up to 4 GiB", text.size());
  Encoding encoding;
  std::string storage;
  Source source{sanitize(text, storage)};
  Alignment alignment;
  if (source.text.data() != text.data()) {
    alignment = sanitized(text);
    source.places = alignment.data();
  }
  Output out{encoding.ids, &encoding.spans};
  encode_around(source, add_special_tokens, out);
  return encoding;
}

void Pipeline::encode_around(const Source& text, bool add_special_tokens, Output& out) const {
  if (!add_special_tokens) return encode_text(text, out);
  for (const auto& id : around) {
    if (id) {
      out.add(*id, {0, 0});
    } else {
      encode_text(text, out);
    }
  }
}

void Pipeline::encode_text(const Source& text, Output& out) const {
  if (added.empty()) return encode_segment(text, out);
  std::vector<AddedTokens::Part> parts;
  added.find(text.text, false, parts);
  for (const auto& [span, id] : parts) {
    if (id) {
      out.add(*id, text.place(span));
    } else {
      encode_segment(text.part(span), out);
    }
  }
}

void Pipeline::encode_segment(const Source& text, Output& out) const {
  NormalizedText normalized;
  Source source = text;
  if (!normalizers.empty()) {
    normalized.text = text.text;
    normalized.at_start = text.first;
    normalized.aligned = out.spans != nullptr;
    if (normalized.aligned && text.places != nullptr) {
      normalized.alignment.assign(text.places, text.places + text.text.size());
    } else if (normalized.aligned) {
      normalized.alignment = unchanged(text.text, text.start);
    }
    normalizers.apply(normalized);
    source = {normalized.text, normalized.at_start, 0, normalized.aligned ? normalized.alignment.data() : nullptr};
  }
  if (!added.has_normalized()) return encode_pieces(source, out);
  std::vector<AddedTokens::Part> parts;
  added.find(source.text, true, parts);
  for (const auto& [span, id] : parts) {
    if (id) {
      out.add(*id, out.spans == nullptr ? TextSpan{} : source.place(span));
    } else {
      encode_pieces(source.part(span), out);
    }
  }
}

void Pipeline::encode_pieces(const Source& text, Output& out) const {
  if (text.text.empty()) return;
  SplitScratch& s = scratch();
  s.aligned = out.spans != nullptr;
  s.source = text.text;
  s.source_start = text.start;
  s.start({text.text, text.first, text.places});
  pre_tokenizers.apply(s);
  for (const Piece& piece : s.pieces) {
    const std::size_t before = out.ids.size();
    if (bytes) {
      model->encode_bytes(piece.text, out.ids);
    } else {
      model->encode(piece.text, out.ids);
    }
    if (out.spans != nullptr) add_spans(piece, before, out);
  }
}

void Pipeline::add_spans(const Piece& piece, std::size_t before, Output& out) const {
  static thread_local std::vector<std::size_t> ends;
  ends.clear();
  model->ends(piece.text, std::span(out.ids).subspan(before), bytes, ends);
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    out.spans->push_back(scratch().place(piece, begin, std::max(end, begin + 1)));
    begin = std::min(std::max(begin, end), piece.text.size() - 1);
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
