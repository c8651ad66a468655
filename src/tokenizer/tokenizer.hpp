// Text to token ids and back, as the Hugging Face `tokenizers` library does it for the same tokenizer.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/account.hpp"

namespace lorica::tokenizer {

using TokenId = std::int32_t;

/// Bytes [begin, end) of a text.
struct TextSpan {
  std::uint32_t begin, end;
  bool operator==(const TextSpan&) const = default;
};

/// Ids, and the part of the text that each stands for: ascending, whole characters. Several ids of one character
/// (bytes) have all of it; a token that the tokenizer puts around every text has an empty part.
struct Encoding {
  std::vector<TokenId> ids;
  std::vector<TextSpan> spans;
};

class Tokenizer {
 public:
  /// Loads `folder/tokenizer.json`, else `folder/tokenizer.model`; further tokens and their roles come from
  /// tokenizer_config.json, special_tokens_map.json and added_tokens.json (and config.json / generation_config.json for
  /// ids of roles) where present. `path` may also be one of those two files. Throws DataError naming the file and the
  /// fault (missing, malformed, unsupported component by name).
  static Tokenizer load(const std::filesystem::path& path);

  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// Ids of `text` (any bytes; malformed UTF-8 is treated as Python's `errors="replace"` would). Special tokens written
  /// inside the text become their ids. `add_special_tokens` runs the post-processor (BOS and the like). Thread-safe.
  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const;
  /// The same ids with their places in `text`, as `tokenizers` has them as offsets (in bytes, and never trimmed).
  /// Memory beside the result: up to 8 bytes for each of the text, where a normalizer changes it. Throws DataError for
  /// 4 GiB or more. Thread-safe.
  Encoding encode_with_spans(std::string_view text, bool add_special_tokens) const;
  /// The same as encode() for many texts, on all threads (base/parallel.hpp), results in order.
  std::vector<std::vector<TokenId>> encode_batch(const std::vector<std::string_view>& texts,
                                                 bool add_special_tokens) const;
  /// Text of ids; unknown ids throw DataError.
  std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const;

  /// The raw vocabulary entry ("Ġhello"), or nullopt.
  std::optional<std::string> token(TokenId id) const;
  std::optional<TokenId> id(std::string_view token) const;
  /// One more than the highest id.
  std::int64_t vocabulary_size() const;
  bool is_special(TokenId id) const;
  std::optional<TokenId> bos() const;
  std::optional<TokenId> eos() const;
  /// What a text has to hold for eos() to stand there; nullopt if there is no such text (EOS is no added token).
  std::optional<std::string> eos_text() const;
  std::optional<TokenId> pad() const;
  /// Text of tokenizer_config.json's / chat_template.jinja's chat template; empty if the model has none.
  const std::string& chat_template() const;
  /// What the files beside the tokenizer say of ids and isn't gone by.
  const Account& account() const;
  /// 32 hex digits over everything that changes ids: the key of token caches.
  const std::string& content_hash() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Turns a stream of ids into text that is safe to print as it grows (never half a UTF-8 character).
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);
  /// The text that this id completes; may be empty.
  std::string add(TokenId id);
  /// What is left at the end.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::vector<TokenId> ids_;   // the ids last shown, then those not shown yet
  std::size_t shown_ids_ = 0;  // how many of ids_ are shown
  std::string shown_;          // their text when they stand at the beginning
};

}  // namespace lorica::tokenizer
