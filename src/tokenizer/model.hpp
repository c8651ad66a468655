// What turns one piece of text into ids: the `model` of tokenizer.json.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/json_view.hpp"
#include "tokenizer/vocabulary.hpp"

namespace lorica::tokenizer {

class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of a piece (valid UTF-8). Throws DataError if it needs an unknown token that the model does not
  /// have. Thread-safe.
  virtual void encode(std::string_view piece, std::vector<TokenId>& ids) const = 0;
  /// Whether encode_bytes() may be used.
  virtual bool takes_bytes() const { return false; }
  /// The same for a piece that is not yet written in the byte-level alphabet.
  virtual void encode_bytes(std::string_view piece, std::vector<TokenId>& ids) const { encode(piece, ids); }
  /// Appends where in the piece each of `ids` ends, which are what encode() made of it (encode_bytes() if `bytes`).
  virtual void ends(std::string_view piece, std::span<const TokenId> ids, bool bytes,
                    std::vector<std::size_t>& ends) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
};

/// The model of a tokenizer.json. Throws DataError naming an unsupported type or a bad field.
std::unique_ptr<Model> parse_model(const JsonView& json);

}  // namespace lorica::tokenizer
