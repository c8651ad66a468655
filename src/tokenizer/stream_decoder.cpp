// Decoding as tokens arrive: a window of recent ids is decoded again with each new one, and what became longer is
// shown.
#include <algorithm>

#include "tokenizer/tokenizer.hpp"
#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

std::string StreamDecoder::add(TokenId id) {
  ids_.push_back(id);
  const std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  // A replacement character at the end may be half a character whose other bytes come with the next ids.
  if (text.ends_with(kReplacementCharacter) || !text.starts_with(shown_) || text.size() == shown_.size()) return "";
  std::string fresh = text.substr(shown_.size());
  // From here on the ids just shown are the context: the first token of a text may be decoded differently (no leading
  // space).
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(shown_ids_));
  shown_ids_ = ids_.size();
  shown_ = tokenizer_.decode(ids_, skip_special_tokens_);
  return fresh;
}

std::string StreamDecoder::finish() {
  const std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  std::string rest;
  if (text.starts_with(shown_)) {
    rest = text.substr(shown_.size());
  } else {
    // The new bytes spoiled a run of bytes that had been shown: what is left is decoded by itself.
    rest =
        tokenizer_.decode({ids_.begin() + static_cast<std::ptrdiff_t>(shown_ids_), ids_.end()}, skip_special_tokens_);
  }
  ids_.clear();
  shown_.clear();
  shown_ids_ = 0;
  return rest;
}

}  // namespace lorica::tokenizer
