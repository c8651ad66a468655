// Regular expressions as Python's `re` means them (as PCRE2 understands them), for patterns that come from adapter
// files and options. Matching is bounded: a pattern that backtracks without end is an error, not a hang.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace lorica::io {

class Regex {
 public:
  /// Throws ModelError naming `source`, the pattern and the place of the fault.
  Regex(const std::string& pattern, const std::string& source);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  bool full_match(std::string_view text) const;  ///< re.fullmatch
  bool match(std::string_view text) const;       ///< re.match: at the start
  /// re.match; the text of the named group, or "" if there is no match or no such group took part.
  std::string match_group(std::string_view text, const std::string& group) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lorica::io
