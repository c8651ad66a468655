// The `post_processor` of tokenizer.json: which special tokens are put around a text.
#pragma once

#include <optional>
#include <vector>

#include "tokenizer/json_view.hpp"
#include "tokenizer/vocabulary.hpp"

namespace lorica::tokenizer {

/// The ids around one text, in order; nullopt stands for the text. (Pairs of texts do not occur in training.)
using PostTemplate = std::vector<std::optional<TokenId>>;

/// The template of a JSON value; just the text for null and ByteLevel. Throws DataError naming an unsupported type or a
/// bad field.
PostTemplate parse_post_processor(const JsonView& json);

}  // namespace lorica::tokenizer
