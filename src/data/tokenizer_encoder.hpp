// A tokenizer::Tokenizer as the TextEncoder that the data layer works with.
#pragma once

#include "data/text_encoder.hpp"
#include "tokenizer/tokenizer.hpp"

namespace lorica::data {

/// Refers to `tokenizer`, which must outlive it.
class TokenizerEncoder : public TextEncoder {
 public:
  explicit TokenizerEncoder(const tokenizer::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens) const override;
  tokenizer::Encoding encode_with_spans(std::string_view text) const override;
  std::optional<std::int32_t> bos() const override;
  std::optional<std::int32_t> eos() const override;
  std::optional<std::string> eos_text() const override;
  std::string display(std::int32_t id) const override;
  std::string content_hash() const override;

 private:
  const tokenizer::Tokenizer& tokenizer_;
};

}  // namespace lorica::data
