// See vocabulary.hpp.
#include "tokenizer/vocabulary.hpp"

#include "base/error.hpp"

namespace lorica::tokenizer {

void Vocabulary::add(std::string_view token, std::int64_t id, const std::string& where) {
  if (id < 0 || id >= kIdLimit)
    raise<DataError>("{}: the token {:?} has the id {}, which is not from 0 to {}", where, token, id, kIdLimit - 1);
  const auto index = static_cast<std::size_t>(id);
  if (index >= tokens_.size()) {
    tokens_.resize(index + 1);
    present_.resize(index + 1, false);
  }
  ids_.insert_or_assign(std::string(token), static_cast<TokenId>(id));
  tokens_[index] = token;
  present_[index] = true;
}

const std::string* Vocabulary::token(TokenId id) const {
  const auto index = static_cast<std::size_t>(id);
  return id >= 0 && index < tokens_.size() && present_[index] ? &tokens_[index] : nullptr;
}

}  // namespace lorica::tokenizer
