// What the data layer asks of a tokenizer, so that it can be tested without one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.hpp"

namespace lorica::data {

/// Text to token ids. Thread-safe. tokenizer_encoder.hpp makes one of a tokenizer::Tokenizer.
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  /// Ids of `text`; `add_special_tokens` adds what the tokenizer puts around every text (BOS and the like).
  virtual std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens) const = 0;
  /// Ids of `text` without such, and which part of the text (bytes, whole characters) each stands for.
  virtual tokenizer::Encoding encode_with_spans(std::string_view text) const = 0;
  virtual std::optional<std::int32_t> bos() const = 0;
  virtual std::optional<std::int32_t> eos() const = 0;
  /// What a text has to hold for eos() to stand there; nullopt if there is no such text.
  virtual std::optional<std::string> eos_text() const = 0;
  /// One token as a person reads it (" hello"), for previews. Any id; an unknown one gives "<id>".
  virtual std::string display(std::int32_t id) const = 0;
  /// Changes whenever the ids of some text would: part of the cache's key.
  virtual std::string content_hash() const = 0;
};

}  // namespace lorica::data
