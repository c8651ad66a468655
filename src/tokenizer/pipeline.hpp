// The parts of a tokenizer put together: normalizers, pre-tokenizers, model, added tokens, post-processor, decoders.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.hpp"
#include "tokenizer/decoders.hpp"
#include "tokenizer/model.hpp"
#include "tokenizer/normalizers.hpp"
#include "tokenizer/post_processor.hpp"
#include "tokenizer/pre_tokenizers.hpp"

namespace lorica::tokenizer {

struct Pipeline {
  Normalizers normalizers;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<Model> model;
  AddedTokens added;
  PostTemplate around = {std::nullopt};
  Decoders decoders;
  bool bytes = false;  ///< pieces go to the model as raw bytes

  /// To be called once, after all parts are set and before encode(): checks ids, and lets the model take raw bytes
  /// where it can.
  void finish(const std::string& where);

  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const;
  Encoding encode_with_spans(std::string_view text, bool add_special_tokens) const;
  std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const;

  /// The text of a token as the vocabulary has it, or nullptr.
  const std::string* token(TokenId id) const;
  std::optional<TokenId> id(std::string_view token) const;
  TokenId id_end() const { return std::max(model->vocabulary().id_end(), added.id_end()); }

 private:
  /// Where the ids go, and their places, if those are wanted.
  struct Output {
    std::vector<TokenId>& ids;
    std::vector<TextSpan>* spans = nullptr;
    void add(TokenId id, TextSpan span) {
      ids.push_back(id);
      if (spans != nullptr) spans->push_back(span);
    }
  };
  /// A part of a text on its way: where it starts in the whole one, and where its bytes come from if that is no longer
  /// there.
  struct Source {
    std::string_view text;
    bool first = true;
    std::size_t start = 0;
    const TextSpan* places = nullptr;
    Source part(Span span) const;
    TextSpan place(Span span) const;
  };
  void encode_around(const Source& text, bool add_special_tokens, Output& out) const;
  void encode_text(const Source& text, Output& out) const;
  void encode_segment(const Source& text, Output& out) const;
  void encode_pieces(const Source& text, Output& out) const;
  void add_spans(const Piece& piece, std::size_t before, Output& out) const;
};

/// From the text of a tokenizer.json. Throws DataError naming `where` (the file) and the component or key at fault.
Pipeline parse_tokenizer_json(std::string_view text, const std::string& where);

}  // namespace lorica::tokenizer
