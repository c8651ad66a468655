// Turns a regular expression in Oniguruma's Ruby syntax into one that means the same to PCRE2.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {

/// The pattern for PCRE2 (with UTF, UCP and MULTILINE). Character classes hold exactly what Oniguruma's hold: general
/// categories, \w, \d and \s come from our own tables, whatever version of Unicode PCRE2 has; scripts and other
/// properties are PCRE2's. Throws DataError naming `where` for what cannot be translated. Sources: Oniguruma's doc/RE
/// and PCRE2's pcre2pattern.
std::string translate_oniguruma(std::string_view pattern, const std::string& where);

/// The code points that PCRE2 finds in a class of these items (`\p{Han}`). Throws DataError for a malformed one.
CodePointRanges code_points_of_pcre2(const std::string& class_items, const std::string& where);

}  // namespace lorica::tokenizer
