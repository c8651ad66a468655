// The `normalizer` of tokenizer.json: what happens to a text before it is cut.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "tokenizer/alignment.hpp"
#include "tokenizer/json_view.hpp"
#include "tokenizer/precompiled.hpp"
#include "tokenizer/regex.hpp"
#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {

/// A text on its way through the normalizers.
struct NormalizedText {
  std::string text;
  /// Whether its first character still comes from the very start of the input: Metaspace's prepend_scheme "first" asks.
  bool at_start = true;
  /// Where the bytes of `text` come from; kept up to date if `aligned`, else empty.
  bool aligned = false;
  Alignment alignment = {};
};

struct FormNormalizer {
  NormalForm form;
};
struct LowercaseNormalizer {};
struct StripNormalizer {
  bool left, right;
};
struct StripAccentsNormalizer {};
struct NmtNormalizer {};
struct ByteLevelNormalizer {};
struct PrependNormalizer {
  std::string prefix;
};
struct ReplaceNormalizer {
  Pattern pattern;
  std::string content;
};
using Normalizer =
    std::variant<FormNormalizer, LowercaseNormalizer, StripNormalizer, StripAccentsNormalizer, NmtNormalizer,
                 ByteLevelNormalizer, PrependNormalizer, ReplaceNormalizer, PrecompiledMap>;

/// A chain of normalizers; sequences are flattened.
class Normalizers {
 public:
  /// Appends the normalizers of a JSON value (null adds none). Throws DataError naming an unsupported type or a bad
  /// field.
  void add(const JsonView& json, int depth = 0);
  void add(Normalizer normalizer) { chain_.push_back(std::move(normalizer)); }
  bool empty() const { return chain_.empty(); }
  void apply(NormalizedText& text) const;

 private:
  std::vector<Normalizer> chain_;
};

/// `{"String": "…"}` or `{"Regex": "…"}`, as Split and Replace have it.
Pattern parse_pattern(const JsonView& json);
/// How deep sequences may be nested in a tokenizer.json.
inline constexpr int kMaxSequenceDepth = 64;

}  // namespace lorica::tokenizer
