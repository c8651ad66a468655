// Regular expressions of tokenizer.json (Oniguruma's Ruby syntax), run by PCRE2 with the code point classes that
// `tokenizers` has.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lorica::tokenizer {

/// A part of a text, in bytes.
struct Span {
  std::size_t begin, end;
  bool operator==(const Span&) const = default;
};

/// A compiled pattern; immutable, so any number of threads may use one.
class Regex {
 public:
  /// `where` names the component for error messages. Throws DataError for a pattern that is malformed or uses what we
  /// don't support.
  Regex(std::string_view pattern, std::string where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// All matches from left to right, none overlapping; an empty match directly behind a match does not count (as the
  /// Rust crate `onig` iterates). `text` is valid UTF-8. Throws DataError when the pattern backtracks beyond the limit
  /// on this text.
  void find_all(std::string_view text, std::vector<Span>& matches) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

/// What a Split or Replace looks for: a literal string or a regular expression.
class Pattern {
 public:
  static Pattern literal(std::string text);
  static Pattern regex(std::string_view pattern, std::string where);
  /// Appends all matches, as Regex::find_all does.
  void find_all(std::string_view text, std::vector<Span>& matches) const;
  /// The source of a regular expression, or "" for a literal.
  const std::string& source() const { return source_; }

 private:
  std::string literal_, source_;
  std::unique_ptr<Regex> regex_;
};

}  // namespace lorica::tokenizer
