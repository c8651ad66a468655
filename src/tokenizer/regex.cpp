// PCRE2 behind regex.hpp: compiling, per-thread match data and JIT stack, limits.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex.hpp"

#include <pcre2.h>

#include "base/error.hpp"
#include "tokenizer/regex_translate.hpp"
#include "tokenizer/unicode.hpp"

namespace lorica::tokenizer {
namespace {

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
template <class T, auto Free>
using Handle = std::unique_ptr<T, Freer<Free>>;
using Code = Handle<pcre2_code, pcre2_code_free>;

constexpr std::uint32_t kMatchLimit = 20'000'000;
constexpr std::uint32_t kHeapLimitKib = 256 << 10;
constexpr std::size_t kJitStackStart = 64 << 10, kJitStackMost = 16 << 20;

/// What a match writes to: one per thread, shared by all patterns.
struct Scratch {
  Handle<pcre2_match_data, pcre2_match_data_free> data{pcre2_match_data_create(1, nullptr)};
  Handle<pcre2_match_context, pcre2_match_context_free> context{pcre2_match_context_create(nullptr)};
  Handle<pcre2_jit_stack, pcre2_jit_stack_free> stack{pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr)};
  Scratch() {
    if (!data || !context) throw std::bad_alloc();
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    if (stack) pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

Scratch& scratch() {
  static thread_local Scratch instance;
  return instance;
}

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  return pcre2_get_error_message(code, buffer, sizeof(buffer)) < 0 ? fmt::format("PCRE2 error {}", code)
                                                                   : reinterpret_cast<const char*>(buffer);
}

Code compile(const std::string& pattern, std::string_view source, const std::string& where) {
  const Handle<pcre2_compile_context, pcre2_compile_context_free> context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE at = 0;
  // In Ruby's syntax ^ and $ are always those of a line.
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C,
                          &error, &at, context.get()));
  if (!code) raise<DataError>("{}: the regular expression {:?} is not usable: {}", where, source, message_of(error));
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // without JIT (some platforms) the interpreter does the work
  return code;
}

/// Calls `next(from)`, which gives the next match at or after `from`, until there is none.
template <class Next>
void iterate(std::string_view text, std::vector<Span>& matches, Next next) {
  std::size_t from = 0, last_end = std::string_view::npos;
  while (from <= text.size()) {
    const Span match = next(from);
    if (match.begin == std::string_view::npos) return;
    if (match.begin == match.end && match.end == last_end) {
      from += from < text.size() ? utf8_length(static_cast<unsigned char>(text[from])) : 1;
      continue;
    }
    matches.push_back(match);
    from = last_end = match.end;
  }
}

constexpr Span kNoMatch{std::string_view::npos, std::string_view::npos};

}  // namespace

struct Regex::Compiled {
  std::string where, source;
  Code code;

  Span search(std::string_view text, std::size_t from) const {
    Scratch& with = scratch();
    const int found = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                  PCRE2_NO_UTF_CHECK, with.data.get(), with.context.get());
    if (found == PCRE2_ERROR_NOMATCH) return kNoMatch;
    if (found < 0) {
      raise<DataError>(
          "{}: the regular expression {:?} gave up on a text of {} bytes: {}. Split the text into shorter lines", where,
          source, text.size(), message_of(found));
    }
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(with.data.get());
    return {offsets[0], std::max(offsets[0], offsets[1])};  // \K can put the end before the beginning
  }
};

Regex::Regex(std::string_view pattern, std::string where) : compiled_(std::make_unique<Compiled>()) {
  const std::string translated = translate_oniguruma(pattern, where);
  compiled_->code = compile(translated, pattern, where);
  compiled_->where = std::move(where);
  compiled_->source = pattern;
}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::find_all(std::string_view text, std::vector<Span>& matches) const {
  iterate(text, matches, [&](std::size_t from) { return compiled_->search(text, from); });
}

CodePointRanges code_points_of_pcre2(const std::string& class_items, const std::string& where) {
  static const std::string all = [] {
    std::string text;
    for (char32_t c = 0; c <= kLastCodePoint; ++c) {
      if (c == 0xD800) c = 0xE000;
      append_utf8(text, c);
    }
    return text;
  }();
  const Code code = compile("[" + class_items + "]+", class_items, where);
  Scratch& with = scratch();
  CodePointRanges ranges;
  std::size_t from = 0;
  while (from < all.size() && pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(all.data()), all.size(), from,
                                          PCRE2_NO_UTF_CHECK, with.data.get(), with.context.get()) > 0) {
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(with.data.get());
    const char* last = previous_utf8(all.data() + offsets[0], all.data() + offsets[1]);
    const char32_t first = decode_utf8(all.data() + offsets[0]).value, final = decode_utf8(last).value;
    if (first < 0xD800 && final >= 0xE000) {  // the surrogates are not in the text
      ranges.emplace_back(first, 0xD7FF);
      ranges.emplace_back(0xE000, final);
    } else {
      ranges.emplace_back(first, final);
    }
    from = offsets[1];
  }
  return ranges;
}

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Pattern Pattern::regex(std::string_view source, std::string where) {
  Pattern pattern;
  pattern.source_ = source;
  pattern.regex_ = std::make_unique<Regex>(source, std::move(where));
  return pattern;
}

void Pattern::find_all(std::string_view text, std::vector<Span>& matches) const {
  if (regex_) return regex_->find_all(text, matches);
  iterate(text, matches, [&](std::size_t from) {
    const std::size_t at = text.find(literal_, from);
    return at == std::string_view::npos ? kNoMatch : Span{at, at + literal_.size()};
  });
}

}  // namespace lorica::tokenizer
