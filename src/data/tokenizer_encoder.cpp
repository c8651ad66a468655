#include "data/tokenizer_encoder.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.hpp"

namespace lorica::data {
namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

std::vector<std::int32_t> TokenizerEncoder::encode(std::string_view text, bool add_special_tokens) const {
  return tokenizer_.encode(text, add_special_tokens);
}

tokenizer::Encoding TokenizerEncoder::encode_with_spans(std::string_view text) const {
  return tokenizer_.encode_with_spans(text, false);
}

std::optional<std::int32_t> TokenizerEncoder::bos() const {
  return tokenizer_.bos();
}
std::optional<std::int32_t> TokenizerEncoder::eos() const {
  return tokenizer_.eos();
}
std::optional<std::string> TokenizerEncoder::eos_text() const {
  return tokenizer_.eos_text();
}
std::string TokenizerEncoder::content_hash() const {
  return tokenizer_.content_hash();
}

std::string TokenizerEncoder::display(std::int32_t id) const {
  const auto raw = tokenizer_.token(id);
  if (!raw) return fmt::format("<{}>", id);
  // The vocabulary writes spaces and newlines as other characters; decoding a single token would strip a leading space.
  auto readable = replace_all(*raw, "▁", " ");
  readable = replace_all(readable, "Ġ", " ");
  readable = replace_all(readable, "Ċ", "\n");
  readable = replace_all(readable, "ĉ", "\t");
  if (is_ascii(readable)) return readable;
  const auto decoded = tokenizer_.decode({id}, false);
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // part of a character
  return decoded.empty() || decoded.find(kReplacement) != std::string::npos ? readable : decoded;
}

}  // namespace lorica::data
