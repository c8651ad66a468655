// Regular expressions in Oniguruma's syntax, as tokenizer.json has them.
#include "tokenizer/regex.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "tokenizer/regex_classes.hpp"
#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  std::vector<Span> spans;
  Regex(pattern, "test").find_all(text, spans);
  std::vector<std::string> out;
  for (const Span& span : spans) out.emplace_back(text.substr(span.begin, span.end - span.begin));
  return out;
}
using Texts = std::vector<std::string>;

TEST(Regex, WhatRubySyntaxMeans) {
  EXPECT_EQ(matches("\\h+", "xyz0aFg"), (Texts{"0aF"}));
  EXPECT_EQ(matches("^a", "a\na"), (Texts{"a", "a"}));
  EXPECT_EQ(matches("(?m).+", "a\nb"), (Texts{"a\nb"}));
  EXPECT_EQ(matches(".+", "a\nb"), (Texts{"a", "b"}));
  EXPECT_EQ(matches("a{,2}b", "aaab"), (Texts{"aab"}));
  EXPECT_EQ(matches("\\d{1,3}+", "1234567"), (Texts{"1234567"}));  // a quantifier on a quantifier, not possession
  EXPECT_EQ(matches("a{", "a{"), (Texts{"a{"}));
  EXPECT_EQ(matches("\\v", "\n\v\f"), (Texts{"\v"}));
  EXPECT_EQ(matches("\\u00e9\\x{4e2d}\\x41", "\u00e9\u4e2dA"), (Texts{"\u00e9\u4e2dA"}));
}

TEST(Regex, Classes) {
  EXPECT_EQ(matches("[a-c&&[^b]]+", "abcab"), (Texts{"a", "ca"}));
  EXPECT_EQ(matches("[\\p{L}&&[^\\p{Han}]]+", "ab\u4e2dcd"), (Texts{"ab", "cd"}));
  EXPECT_EQ(matches("[a[x-z]]+", "axbyz"), (Texts{"ax", "yz"}));
  EXPECT_EQ(matches("[^\\S\\n]+", "a \t\nb"), (Texts{" \t"}));
  EXPECT_EQ(matches("[]a]+", "a]b"), (Texts{"a]"}));
  EXPECT_EQ(matches("[\\p{^L}]+", "ab12"), (Texts{"12"}));
  EXPECT_EQ(matches("\\P{L}+", "ab12"), (Texts{"12"}));
  EXPECT_EQ(matches("[a\\-z]+", "a-zb"), (Texts{"a-z"}));
  EXPECT_EQ(matches("\\p{Uppercase_Letter}", "aB"), (Texts{"B"}));
  EXPECT_EQ(matches("[[:alpha:]]+", "ab1"), (Texts{"ab"}));
}

TEST(Regex, EmptyMatchesBehindAMatchDoNotCount) {
  EXPECT_EQ(matches("a*", "aab"), (Texts{"aa", ""}));
  EXPECT_EQ(matches("", "ab"), (Texts{"", "", ""}));
}

TEST(Regex, WhiteSpaceIsUnicodes) {
  EXPECT_EQ(matches("\\s", "\u0085\u00a0\u1680\u180e\u2028\u3000\u200b").size(), 5u);
}

TEST(Regex, CategoriesAreThoseOfOurTables) {
  // Letters that PCRE2's Unicode may not know yet: U+1C89 and U+10D50 came with Unicode 16.
  EXPECT_EQ(matches("\\p{L}+", "\u1c89\U00010D50"), (Texts{"\u1c89\U00010D50"}));
  EXPECT_EQ(matches("[^\\p{L}]+", "\u1c89\U00010D50"), (Texts{}));
  EXPECT_EQ(matches("\\p{Lu}", "\u1c89"), (Texts{"\u1c89"}));
  const NamedSet& letters = named_set("L", "test");
  EXPECT_EQ(letters.ranges,
            ranges_where([](std::uint16_t f) { return category_of(f) >= kLl && category_of(f) <= kLu; }));
}

TEST(RegexClasses, SetAlgebra) {
  const CodePointRanges a = {{'a', 'f'}, {'x', 'z'}}, b = {{'d', 'y'}};
  EXPECT_EQ(intersect(a, b), (CodePointRanges{{'d', 'f'}, {'x', 'y'}}));
  EXPECT_EQ(unite(a, b), (CodePointRanges{{'a', 'z'}}));
  EXPECT_EQ(complement(complement(a)), a);
  EXPECT_EQ(complement({}), (CodePointRanges{{0, 0xD7FF}, {0xE000, kLastCodePoint}}));
  EXPECT_EQ(class_items(a), "\\x{61}-\\x{66}\\x{78}-\\x{7a}");
}

}  // namespace
}  // namespace lorica::tokenizer
