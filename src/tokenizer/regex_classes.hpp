// Named sets of code points in regular expressions: how PCRE2 writes them, and what its Unicode version lacks.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {

/// A set that a pattern names: `\p{L}`, `\s`, `[:alpha:]`.
struct NamedSet {
  CodePointRanges ranges;
  std::string items;    ///< how to write it inside a class of PCRE2
  std::string negated;  ///< and its complement
};

/// `name` as between the braces of \p{…}; or "word", "digit", "space", "hex" for \w, \d, \s, \h. The object lives for
/// ever. Throws DataError naming `where` if there is no such property.
const NamedSet& named_set(std::string_view name, const std::string& where);

/// Set algebra on sorted, disjoint ranges.
CodePointRanges complement(const CodePointRanges& set);
CodePointRanges unite(CodePointRanges a, const CodePointRanges& b);
CodePointRanges intersect(const CodePointRanges& a, const CodePointRanges& b);
/// `\x{41}-\x{5a}\x{5f}`
std::string class_items(const CodePointRanges& set);

}  // namespace lorica::tokenizer
