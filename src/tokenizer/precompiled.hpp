// SentencePiece's precompiled character map: a double-array trie of what to replace, and the replacements.
// Format: sentencepiece's normalizer.cc and darts-clone; behaviour: that of `tokenizers`' Precompiled normalizer,
// grapheme by grapheme.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorica::tokenizer {

class PrecompiledMap {
 public:
  /// `blob`: u32 trie bytes, trie (u32 units), NUL-terminated replacements; little-endian. Throws DataError naming
  /// `where` if malformed.
  PrecompiledMap(std::string_view blob, const std::string& where);
  /// Calls put(begin, end, content) for the parts [begin, end) of `text`, in order, with what they become. `text` is
  /// valid UTF-8, and so is all that is put.
  void apply(std::string_view text, const std::function<void(std::size_t, std::size_t, std::string_view)>& put) const;

 private:
  std::optional<std::string_view> replacement(std::string_view chunk) const;
  template <class Put>
  void replace_grapheme(std::string_view text, std::size_t begin, std::size_t end, const Put& put) const;
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

/// Bytes of base64 text; nullopt if it is malformed.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace lorica::tokenizer
