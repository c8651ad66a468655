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
  std::vector<std::vector<std::int32_t>> encode_batch(const std::vector<std::string_view>& texts,
                                                      bool add_special_tokens) const override;
  std::optional<std::int32_t> bos() const override;
  std::optional<std::int32_t> eos() const override;
  std::string display(std::int32_t id) const override;
  std::string content_hash() const override;

 private:
  const tokenizer::Tokenizer& tokenizer_;
};

}  // namespace lorica::data
