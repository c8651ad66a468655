// The `decoder` of tokenizer.json: how the texts of tokens become a text again.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "tokenizer/json_view.hpp"
#include "tokenizer/regex.hpp"

namespace lorica::tokenizer {

struct ByteLevelDecoder {};
struct ByteFallbackDecoder {};
struct FuseDecoder {};
struct MetaspaceDecoder {
  std::string replacement;
  bool drop_first;  ///< the first token's marks go, instead of becoming spaces
};
struct StripDecoder {
  std::string content;  ///< one character
  std::size_t start, stop;
};
struct ReplaceDecoder {
  Pattern pattern;
  std::string content;
};
/// The end-of-word suffix becomes a space.
struct BpeDecoder {
  std::string suffix;
};
using Decoder = std::variant<ByteLevelDecoder, ByteFallbackDecoder, FuseDecoder, MetaspaceDecoder, StripDecoder,
                             ReplaceDecoder, BpeDecoder>;

/// A chain of decoders; sequences are flattened. Without any, tokens are joined by spaces.
class Decoders {
 public:
  /// Appends those of a JSON value (null adds none). Throws DataError naming an unsupported type or a bad field.
  void add(const JsonView& json, int depth = 0);
  void add(Decoder decoder) { chain_.push_back(std::move(decoder)); }
  std::string apply(std::vector<std::string> tokens) const;

 private:
  std::vector<Decoder> chain_;
};

}  // namespace lorica::tokenizer
