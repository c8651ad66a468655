// SentencePiece's own model file (tokenizer.model), read without its library: a protobuf with pieces, scores and a few
// settings. Format: sentencepiece_model.proto of google/sentencepiece.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/pipeline.hpp"

namespace lorica::tokenizer {

struct SentencePieceModel {
  enum class Type : int { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::kNormal;
  };
  std::vector<Piece> pieces;
  std::int64_t model_type = 1;  ///< 1 Unigram, 2 BPE, 3 words, 4 characters
  bool byte_fallback = false, whitespace_as_suffix = false;
  std::int64_t unknown_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;
  std::string character_map;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
};

/// Throws DataError naming `where` for a file that is truncated, malformed or none at all.
SentencePieceModel parse_sentencepiece(std::string_view bytes, const std::string& where);

/// What Hugging Face's tokenizer_config.json says about a SentencePiece model.
struct SentencePieceOptions {
  bool add_bos = true, add_eos = false;
  bool legacy = false;                   ///< the dummy prefix also behind each special token
  std::optional<bool> add_prefix_space;  ///< instead of the model's add_dummy_prefix
};

/// Encodes as the sentencepiece library does (the text between special tokens), with Hugging Face's treatment of
/// special tokens: control pieces and user-defined ones are found in the text, BOS and EOS are put around it. Throws
/// DataError.
Pipeline sentencepiece_pipeline(const SentencePieceModel& model, const SentencePieceOptions& options,
                                const std::string& where);

}  // namespace lorica::tokenizer
