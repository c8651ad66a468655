// See regex_classes.hpp. A general category is written as PCRE2's own plus the ranges that PCRE2's older Unicode lacks.
#include "tokenizer/regex_classes.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "tokenizer/regex_translate.hpp"

namespace lorica::tokenizer {
namespace {

/// Letters and digits of a property's name in lower case: Oniguruma ignores case, blanks, '-' and '_' there.
std::string plain_name(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c != ' ' && c != '-' && c != '_') plain.push_back(c);
  }
  return to_lower(plain);
}

/// The long names of general categories.
std::string short_category(const std::string& plain) {
  static const std::map<std::string, std::string> names = {{"letter", "l"},
                                                           {"lowercaseletter", "ll"},
                                                           {"uppercaseletter", "lu"},
                                                           {"titlecaseletter", "lt"},
                                                           {"modifierletter", "lm"},
                                                           {"otherletter", "lo"},
                                                           {"mark", "m"},
                                                           {"nonspacingmark", "mn"},
                                                           {"spacingmark", "mc"},
                                                           {"enclosingmark", "me"},
                                                           {"number", "n"},
                                                           {"decimalnumber", "nd"},
                                                           {"letternumber", "nl"},
                                                           {"othernumber", "no"},
                                                           {"punctuation", "p"},
                                                           {"connectorpunctuation", "pc"},
                                                           {"dashpunctuation", "pd"},
                                                           {"openpunctuation", "ps"},
                                                           {"closepunctuation", "pe"},
                                                           {"initialpunctuation", "pi"},
                                                           {"finalpunctuation", "pf"},
                                                           {"otherpunctuation", "po"},
                                                           {"symbol", "s"},
                                                           {"mathsymbol", "sm"},
                                                           {"currencysymbol", "sc"},
                                                           {"modifiersymbol", "sk"},
                                                           {"othersymbol", "so"},
                                                           {"separator", "z"},
                                                           {"spaceseparator", "zs"},
                                                           {"lineseparator", "zl"},
                                                           {"paragraphseparator", "zp"},
                                                           {"control", "cc"},
                                                           {"format", "cf"},
                                                           {"privateuse", "co"},
                                                           {"unassigned", "cn"},
                                                           {"other", "c"}};
  const auto found = names.find(plain);
  return found == names.end() ? plain : found->second;
}

struct Definition {
  CodePointRanges ranges;
  std::string base;  ///< nearly the same in PCRE2's own terms; empty: none
};

std::optional<Definition> category_set(const std::string& name) {
  if (name.empty() || name.size() > 2) return std::nullopt;
  std::uint32_t mask = 0;
  std::string pcre2_name;
  for (int c = 0; c < kCategoryCount; ++c) {
    if (to_lower(kCategoryNames[c]).compare(0, name.size(), name) == 0) {
      mask |= 1u << c;
      pcre2_name = std::string(kCategoryNames[c]).substr(0, name.size());
    }
  }
  if (mask == 0) return std::nullopt;
  return Definition{ranges_where([mask](std::uint16_t flags) { return (mask >> category_of(flags) & 1) != 0; }),
                    "\\p{" + pcre2_name + "}"};
}

std::optional<Definition> known_set(const std::string& name) {
  const auto having = [](std::uint16_t flag) {
    return ranges_where([flag](std::uint16_t f) { return (f & flag) != 0; });
  };
  if (name == "word") return Definition{having(kRegexWord), "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}"};
  if (name == "digit") return category_set("nd");
  if (name == "space" || name == "whitespace") return Definition{having(kWhiteSpace), ""};
  if (name == "hex" || name == "xdigit" || name == "asciihexdigit") {
    return Definition{{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}, ""};
  }
  if (name == "any") return Definition{{{0, 0xD7FF}, {0xE000, kLastCodePoint}}, ""};
  if (name == "ascii") return Definition{{{0, 0x7F}}, ""};
  if (name == "cs" || name == "surrogate") raise<DataError>("surrogates cannot occur in UTF-8");
  return category_set(short_category(name));
}

/// A script or another property. For a script Oniguruma means Script, where PCRE2 by itself would take
/// Script_Extensions.
Definition pcre2_set(const std::string& name, const std::string& where) {
  const std::string script = "\\p{sc:" + name + "}", property = "\\p{" + name + "}";
  try {
    return {code_points_of_pcre2(script, where), script};
  } catch (const DataError&) {  // no script
    return {code_points_of_pcre2(property, where), property};
  }
}

NamedSet finish(Definition definition, const std::string& where) {
  NamedSet set;
  set.negated = class_items(complement(definition.ranges));
  set.items = class_items(definition.ranges);
  if (!definition.base.empty()) {
    const CodePointRanges have = code_points_of_pcre2(definition.base, where);
    if (intersect(have, complement(definition.ranges)).empty()) {
      set.items = definition.base + class_items(intersect(definition.ranges, complement(have)));
    }
  }
  set.ranges = std::move(definition.ranges);
  return set;
}

}  // namespace

const NamedSet& named_set(std::string_view name, const std::string& where) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<NamedSet>> sets;
  const std::lock_guard<std::mutex> lock(mutex);
  auto& slot = sets[plain_name(name)];
  if (slot) return *slot;
  if (std::any_of(name.begin(), name.end(), [](char c) {
        return !std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != ' ';
      })) {
    raise<DataError>("{}: the character property \\p{{{}}} is not supported", where, name);
  }
  std::optional<Definition> definition = known_set(plain_name(name));
  if (!definition) {
    definition = pcre2_set(std::string(name), where);
  }
  slot = std::make_unique<NamedSet>(finish(std::move(*definition), where));
  return *slot;
}

CodePointRanges complement(const CodePointRanges& set) {
  CodePointRanges out;
  char32_t next = 0;
  const auto add = [&out](char32_t from, char32_t to) {  // [from, to), without the surrogates
    if (from < 0xD800 && to > from) out.emplace_back(from, std::min<char32_t>(to, 0xD800) - 1);
    from = std::max<char32_t>(from, 0xE000);
    if (to > from) out.emplace_back(from, to - 1);
  };
  for (const auto& [low, high] : set) {
    add(next, low);
    next = high + 1;
  }
  add(next, kLastCodePoint + 1);
  return out;
}

CodePointRanges unite(CodePointRanges a, const CodePointRanges& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::sort(a.begin(), a.end());
  CodePointRanges out;
  for (const auto& range : a) {
    if (!out.empty() && range.first <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, range.second);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CodePointRanges intersect(const CodePointRanges& a, const CodePointRanges& b) {
  CodePointRanges out;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const char32_t low = std::max(a[i].first, b[j].first), high = std::min(a[i].second, b[j].second);
    if (low <= high) out.emplace_back(low, high);
    (a[i].second < b[j].second ? i : j) += 1;
  }
  return out;
}

std::string class_items(const CodePointRanges& set) {
  std::string out;
  for (const auto& [low, high] : set) {
    out += fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(low));
    if (high > low) out += fmt::format("{}\\x{{{:x}}}", high > low + 1 ? "-" : "", static_cast<std::uint32_t>(high));
  }
  return out;
}

}  // namespace lorica::tokenizer
