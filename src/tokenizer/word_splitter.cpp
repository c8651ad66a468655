// See word_splitter.hpp. Each function below is one alternative of a pattern; each scanner tries them in the pattern's
// order.
#include "tokenizer/word_splitter.hpp"

#include <array>

#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {

const std::string_view kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// What the patterns ask of a character.
enum Kind : std::uint8_t {
  kLetter = 1,
  kNumber = 2,
  kSpace = 4,
  kUpperLike = 8,   ///< Lu Lt Lm Lo M
  kLowerLike = 16,  ///< Ll Lm Lo M
  kNewline = 32,    ///< \r \n
};
constexpr std::uint8_t kNotOther = kLetter | kNumber | kSpace;

std::uint8_t kind_of_flags(char32_t c, std::uint16_t flags) {
  static constexpr std::uint8_t kOfCategory[kCategoryCount] = {0,
                                                               0,
                                                               0,
                                                               0,
                                                               kLetter | kLowerLike,
                                                               kLetter | kUpperLike | kLowerLike,
                                                               kLetter | kUpperLike | kLowerLike,
                                                               kLetter | kUpperLike,
                                                               kLetter | kUpperLike,
                                                               kUpperLike | kLowerLike,
                                                               kUpperLike | kLowerLike,
                                                               kUpperLike | kLowerLike,
                                                               kNumber,
                                                               kNumber,
                                                               kNumber};
  const std::uint8_t newline = c == '\r' || c == '\n' ? kNewline : 0;
  return kOfCategory[category_of(flags)] | (flags & kWhiteSpace ? kSpace : 0) | newline;
}

struct AsciiKinds {
  std::array<std::uint8_t, 128> of{};
  AsciiKinds() {
    for (char32_t c = 0; c < 128; ++c) of[c] = kind_of_flags(c, unicode_flags(c));
  }
};

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  /// Kind and length of the character at `at`; {0, 0} at the end.
  struct Character {
    std::uint8_t kind;
    std::uint32_t length;
  };
  Character at(std::size_t at) const {
    if (at >= text_.size()) return {0, 0};
    static const AsciiKinds ascii;
    const auto byte = static_cast<unsigned char>(text_[at]);
    if (byte < 128) return {ascii.of[byte], 1};
    const CodePoint c = decode_utf8(text_.data() + at);
    return {kind_of_flags(c.value, unicode_flags(c.value)), c.length};
  }

  /// End of the longest run from `from` whose characters have one of `any` (or none of `none`, if `any` is 0).
  std::size_t run(std::size_t from, std::uint8_t any, std::uint8_t none = 0) const {
    for (Character c = at(from); c.length > 0 && (any != 0 ? (c.kind & any) != 0 : (c.kind & none) == 0);
         c = at(from)) {
      from += c.length;
    }
    return from;
  }
  bool starts(std::size_t at, char byte) const { return at < text_.size() && text_[at] == byte; }

  /// 's 't 're 've 'm 'll 'd; the end, or `from`.
  std::size_t contraction(std::size_t from, bool any_case) const {
    if (!starts(from, '\'') || from + 1 >= text_.size()) return from;
    const auto letter = [&](std::size_t i) -> char {
      if (i >= text_.size()) return '\0';
      const char c = text_[i];
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    const char a = letter(from + 1), b = letter(from + 2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return from + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return from + 3;
    if (any_case && text_.substr(from + 1, 2) == "\xC5\xBF") return from + 3;  // U+017F folds to s
    return from;
  }

  /// ` ?[^\s\p{L}\p{N}]+` and then any of \r \n (and '/', if asked); the end, or `from`.
  std::size_t symbols(std::size_t from, bool newlines, bool slashes) const {
    const std::size_t start = from + (text_[from] == ' ' ? 1 : 0);
    std::size_t end = run(start, 0, kNotOther);
    if (end == start) return from;
    while (newlines && end < text_.size() &&
           (text_[end] == '\r' || text_[end] == '\n' || (slashes && text_[end] == '/'))) {
      ++end;
    }
    return end;
  }

  /// At white space: `\s*[\r\n]+` (if asked), `\s+(?!\S)`, `\s+`.
  std::size_t spaces(std::size_t from, bool newlines) const {
    const std::size_t end = run(from, kSpace);
    if (newlines) {
      for (std::size_t i = end; i > from; --i) {
        if (text_[i - 1] == '\r' || text_[i - 1] == '\n') return i;
      }
    }
    if (end == text_.size()) return end;
    // Something follows: the run leaves its last character to it, if it has another.
    const auto last = static_cast<std::size_t>(previous_utf8(text_.data() + from, text_.data() + end) - text_.data());
    return last > from ? last : end;
  }

  std::size_t size() const { return text_.size(); }

 private:
  std::string_view text_;
};

std::size_t next_gpt2(const Scanner& text, std::size_t from) {
  const std::size_t short_form = text.contraction(from, false);
  if (short_form > from) return short_form;
  const std::size_t start = from + (text.starts(from, ' ') ? 1 : 0);
  const auto first = text.at(start);
  if (first.kind & kLetter) return text.run(start, kLetter);
  if (first.kind & kNumber) return text.run(start, kNumber);
  if (first.length > 0 && !(first.kind & kSpace)) return text.run(start, 0, kNotOther);
  return text.spaces(from, false);
}

/// Llama 3 and Qwen 2 differ in how many digits make a word.
std::size_t next_llama3(const Scanner& text, std::size_t from, int digits) {
  const std::size_t short_form = text.contraction(from, true);
  if (short_form > from) return short_form;
  const auto first = text.at(from);
  if (first.kind & kLetter) return text.run(from, kLetter);
  if (first.kind & kNumber) {
    std::size_t end = from + first.length;
    for (auto c = text.at(end); digits > 1 && (c.kind & kNumber); c = text.at(end), --digits) end += c.length;
    return end;
  }
  if (!(first.kind & kNewline) && (text.at(from + first.length).kind & kLetter)) {
    return text.run(from + first.length, kLetter);
  }
  const std::size_t end = text.symbols(from, true, false);
  return end > from ? end : text.spaces(from, true);
}

/// `U*W+` from `start` with U upper-like and W lower-like, or, if that fails, `U+W*`; the end, or `start`.
std::size_t cased_word(const Scanner& text, std::size_t start, bool lower_needed) {
  std::size_t upper_end = start, fallback = start;
  for (auto c = text.at(upper_end); c.kind & kUpperLike; c = text.at(upper_end)) {
    upper_end += c.length;
    // What U* has to give back so that W+ finds something: the last character that is both.
    if (c.kind & kLowerLike) fallback = upper_end;
  }
  const std::size_t end = text.run(upper_end, kLowerLike);
  if (end > upper_end) return end;
  return lower_needed ? fallback : upper_end;
}

std::size_t next_tekken(const Scanner& text, std::size_t from) {
  const auto first = text.at(from);
  const bool lead = !(first.kind & (kNewline | kLetter | kNumber));
  const std::size_t after = from + (lead ? first.length : 0);
  for (const bool lower_needed : {true, false}) {
    std::size_t end = cased_word(text, after, lower_needed);
    if (end > after) return end;
    if (lead && (end = cased_word(text, from, lower_needed)) > from) return end;
  }
  if (first.kind & kNumber) return from + first.length;
  const std::size_t end = text.symbols(from, true, true);
  return end > from ? end : text.spaces(from, true);
}

template <class Next>
void scan(std::string_view text, std::vector<Span>& words, Next next) {
  const Scanner scanner(text);
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = next(scanner, from);
    words.push_back({from, end});
    from = end;
  }
}

}  // namespace

std::string_view pattern_of(WordSplitter splitter) {
  switch (splitter) {
    case WordSplitter::kGpt2:
      return kGpt2Pattern;
    case WordSplitter::kLlama3:
      return kLlama3Pattern;
    case WordSplitter::kQwen2:
      return kQwen2Pattern;
    case WordSplitter::kTekken:
      break;
  }
  return kTekkenPattern;
}

std::optional<WordSplitter> word_splitter_of(std::string_view pattern) {
  for (const WordSplitter splitter :
       {WordSplitter::kGpt2, WordSplitter::kLlama3, WordSplitter::kQwen2, WordSplitter::kTekken}) {
    if (pattern == pattern_of(splitter)) return splitter;
  }
  return std::nullopt;
}

void split_words(WordSplitter splitter, std::string_view text, std::vector<Span>& words) {
  switch (splitter) {
    case WordSplitter::kGpt2:
      return scan(text, words, next_gpt2);
    case WordSplitter::kLlama3:
      return scan(text, words, [](const Scanner& s, std::size_t from) { return next_llama3(s, from, 3); });
    case WordSplitter::kQwen2:
      return scan(text, words, [](const Scanner& s, std::size_t from) { return next_llama3(s, from, 1); });
    case WordSplitter::kTekken:
      return scan(text, words, next_tekken);
  }
}

}  // namespace lorica::tokenizer
