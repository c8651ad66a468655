#include "io/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.hpp"

namespace lorica::io {
namespace {

constexpr std::uint32_t kMatchLimit = 1'000'000;

struct MatchData {
  explicit MatchData(const pcre2_code* code) : data(pcre2_match_data_create_from_pattern(code, nullptr)) {}
  ~MatchData() { pcre2_match_data_free(data); }
  MatchData(const MatchData&) = delete;
  MatchData& operator=(const MatchData&) = delete;
  pcre2_match_data* data;
};

}  // namespace

struct Regex::State {
  std::string pattern, source;
  pcre2_code* code = nullptr;
  pcre2_match_context* limits = nullptr;
  ~State() {
    pcre2_code_free(code);
    pcre2_match_context_free(limits);
  }

  bool run(std::string_view text, std::uint32_t options, pcre2_match_data* data) const {
    const int count = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                                  options | PCRE2_ANCHORED, data, limits);
    if (count >= 0) return true;
    if (count == PCRE2_ERROR_NOMATCH) return false;
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(count, message, sizeof message);
    raise<ModelError>("{}: the pattern \"{}\" can't be matched: {}. Write a simpler one.", source, pattern,
                      reinterpret_cast<const char*>(message));
  }
};

Regex::Regex(const std::string& pattern, const std::string& source) : state_(std::make_unique<State>()) {
  state_->pattern = pattern;
  state_->source = source;
  int error = 0;
  PCRE2_SIZE offset = 0;
  state_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF, &error, &offset, nullptr);
  if (state_->code == nullptr) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    raise<ModelError>("{}: \"{}\" is not a regular expression: {} at character {}", source, pattern,
                      reinterpret_cast<const char*>(message), offset + 1);
  }
  state_->limits = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(state_->limits, kMatchLimit);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

bool Regex::full_match(std::string_view text) const {
  const MatchData found(state_->code);
  return state_->run(text, PCRE2_ENDANCHORED, found.data);
}

bool Regex::match(std::string_view text) const {
  const MatchData found(state_->code);
  return state_->run(text, 0, found.data);
}

std::string Regex::match_group(std::string_view text, const std::string& group) const {
  const MatchData found(state_->code);
  if (!state_->run(text, 0, found.data)) return "";
  PCRE2_UCHAR* value = nullptr;
  PCRE2_SIZE length = 0;
  const auto* name = reinterpret_cast<PCRE2_SPTR>(group.c_str());
  if (pcre2_substring_get_byname(found.data, name, &value, &length) != 0) return "";
  std::string result(reinterpret_cast<const char*>(value), length);
  pcre2_substring_free(value);
  return result;
}

}  // namespace lorica::io
