// Where the bytes of a text that was changed on its way to the model stood in the text that was given.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.hpp"

namespace lorica::tokenizer {

/// For each byte of a changed text the characters that it came from, in bytes of the text before. All bytes of one
/// character have the same. As in `tokenizers`, what is put in has the place of a character beside it.
using Alignment = std::vector<TextSpan>;

/// Of `text` (valid UTF-8), unchanged, that stands at `start` of the text it is a part of.
Alignment unchanged(std::string_view text, std::size_t start);
/// The whole characters of `text` (valid UTF-8) that the bytes [begin, end) are of.
TextSpan whole_characters(std::string_view text, std::size_t begin, std::size_t end);
/// The alignment of sanitize(text): which bytes of `text` its characters stand for.
Alignment sanitized(std::string_view text);

}  // namespace lorica::tokenizer
