// generation_config.json: where texts end that a model writes, and what of the file `generate` does not go by.
#pragma once

#include <filesystem>
#include <vector>

#include "base/account.hpp"
#include "tokenizer/tokenizer.hpp"

namespace lorica::tokenizer {

struct GenerationConfig {
  std::vector<TokenId> eos_ids;  ///< eos_token_id, a number or a list; empty if the file is absent or names none
  Account account;               ///< of the other keys: sampling is as the options say
};

/// Of a model's folder. Throws DataError for a file that is not a JSON object, or an id that is none.
GenerationConfig read_generation_config(const std::filesystem::path& folder);

}  // namespace lorica::tokenizer
