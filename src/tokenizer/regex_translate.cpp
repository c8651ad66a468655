// See regex_translate.hpp: one pass over the pattern, which copies what is the same and rewrites what is not.
#include "tokenizer/regex_translate.hpp"

#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "tokenizer/regex_classes.hpp"

namespace lorica::tokenizer {
namespace {

constexpr int kMaxNesting = 100;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : in_(pattern), where_(where) {
    if (valid_utf8_prefix(pattern) != pattern.size()) fail("it is not valid UTF-8");
  }

  std::string run() {
    while (at_ < in_.size()) step();
    return out_;
  }

 private:
  /// A character class while it is read: `items` in PCRE2's terms as long as these can say it, `set` always when asked
  /// for.
  struct Class {
    std::string items;
    CodePointRanges set;
    bool plain = true;  ///< no nested class, no intersection: `items` says it all
  };

  [[noreturn]] void fail(std::string_view why) const {
    raise<DataError>("{}: the regular expression {:?} is not supported: {}", where_, in_, why);
  }
  bool more() const { return at_ < in_.size(); }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  bool take(std::string_view text) {
    if (in_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }

  void step() {
    const char c = peek();
    if (c == '(') return open_group();
    if (c == ')') {
      if (groups_.empty()) fail("a ')' without its '('");
      atom_ = groups_.back();
      groups_.pop_back();
      out_.push_back(in_[at_++]);
      return;
    }
    if (c == '{' && repeat_count()) return;
    if (c == '*' || c == '+' || c == '?' || c == '|' || c == '^' || c == '$') {
      out_.push_back(in_[at_++]);
      return;
    }
    atom_ = out_.size();
    if (c == '[') {
      out_ += class_text(read_class(0));
    } else if (c == '\\') {
      escape();
    } else {
      const std::size_t length = utf8_length(static_cast<unsigned char>(c));
      if (c == '{') out_.push_back('\\');
      out_ += in_.substr(at_, length);
      at_ += length;
    }
  }

  void open_group() {
    groups_.push_back(out_.size());
    if (groups_.size() > kMaxNesting) fail("its groups are nested too deep");
    for (const std::string_view same : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (take(same)) {
        out_ += same;
        return;
      }
    }
    if (take("(?#")) {
      while (more() && peek() != ')') ++at_;
      if (!take(")")) fail("a comment without its end");
      groups_.pop_back();
      return;
    }
    if (take("(?<")) {
      out_ += "(?<";
      return;
    }
    if (!take("(?")) {
      out_ += in_[at_++];
      return;
    }
    options();
  }

  /// `(?i)`, `(?m-x:`: Ruby's m is what others call s.
  void options() {
    out_ += "(?";
    while (more() && peek() != ':' && peek() != ')') {
      const char c = in_[at_++];
      if (c != 'i' && c != 'm' && c != 'x' && c != '-') fail("a group of an unknown kind");
      out_.push_back(c == 'm' ? 's' : c);
    }
    if (!more()) fail("a group without its end");
    if (peek() == ')') groups_.pop_back();
    out_.push_back(in_[at_++]);
  }

  /// `{n,m}`: in Ruby `{,m}` starts at 0, and a `+` behind is another quantifier, not possession.
  bool repeat_count() {
    std::size_t end = at_ + 1;
    while (end < in_.size() && (is_digit(in_[end]) || in_[end] == ',')) ++end;
    if (end >= in_.size() || in_[end] != '}' || end == at_ + 1) return false;
    std::string count(in_.substr(at_ + 1, end - at_ - 1));
    if (count == "," || std::count(count.begin(), count.end(), ',') > 1) return false;
    if (count[0] == ',') count.insert(0, "0");
    at_ = end + 1;
    out_ += "{" + count + "}";
    if (peek() == '+') {
      out_.insert(atom_, "(?:");
      out_.push_back(')');
    }
    return true;
  }

  void escape() {
    ++at_;
    if (!more()) fail("it ends in a backslash");
    if (const auto named = named_escape()) {
      const NamedSet& set = named_set(named->first, where_);
      out_ += (named->second ? "[^" : "[") + set.items + "]";
      return;
    }
    const char c = peek();
    if (c == 'b' || c == 'B') {
      ++at_;
      const std::string word = "[" + named_set("word", where_).items + "]";
      out_ += c == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word)
                       : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
      return;
    }
    if (std::string_view("AzZGRXK").find(c) != std::string_view::npos || (c >= '1' && c <= '9')) {
      out_ += {'\\', in_[at_++]};
      return;
    }
    out_ += class_items({{escaped_code_point(), 0}});
  }

  /// After a backslash: a set such as `s`, `p{L}` or `P{^L}`, with whether it is negated.
  std::optional<std::pair<std::string, bool>> named_escape() {
    static constexpr std::pair<char, const char*> kShort[] = {
        {'d', "digit"}, {'w', "word"}, {'s', "space"}, {'h', "hex"}};
    const char c = peek();
    for (const auto& [letter, name] : kShort) {
      if (c == letter || c == letter - 'a' + 'A') {
        ++at_;
        return std::make_pair(std::string(name), c != letter);
      }
    }
    if ((c != 'p' && c != 'P') || peek(1) != '{') return std::nullopt;
    at_ += 2;
    bool negated = c == 'P';
    if (take("^")) negated = !negated;
    const std::size_t end = in_.find('}', at_);
    if (end == std::string_view::npos) fail("a character property without its '}'");
    const std::string name(in_.substr(at_, end - at_));
    at_ = end + 1;
    return std::make_pair(name, negated);
  }

  /// After a backslash: one code point.
  char32_t escaped_code_point() {
    const char c = peek();
    static constexpr std::pair<char, char> kControls[] = {{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'f', '\f'},
                                                          {'v', '\v'}, {'a', '\a'}, {'e', 27},   {'0', '\0'}};
    for (const auto& [letter, value] : kControls) {
      if (c == letter) {
        ++at_;
        if (c == '0' && is_digit(peek())) fail("octal escapes");
        return static_cast<char32_t>(value);
      }
    }
    if (c == 'x' || c == 'u') return hexadecimal();
    if (std::isalnum(static_cast<unsigned char>(c))) fail(fmt::format("the escape \\{}", c));
    const CodePoint point = decode_utf8(in_.data() + at_);
    at_ += point.length;
    return point.value;
  }

  char32_t hexadecimal() {
    const bool braces = peek(1) == '{';
    const std::size_t most = braces ? 8 : peek() == 'u' ? 4 : 2;
    at_ += braces ? 2 : 1;
    char32_t value = 0;
    std::size_t digits = 0;
    for (; digits < most && is_hex(peek()); ++digits) {
      value = value * 16 + static_cast<char32_t>(std::stoi(std::string(1, in_[at_++]), nullptr, 16));
    }
    if (digits == 0 || (braces && !take("}"))) fail("a malformed hexadecimal escape");
    if (!braces && most == 2 && value > 0x7F) fail("an escaped byte that is no character");
    if (value > kLastCodePoint || (value >= 0xD800 && value < 0xE000)) fail("an escape of no valid code point");
    return value;
  }

  static std::string class_text(const Class& c) { return "[" + c.items + "]"; }

  void add(Class& to, const CodePointRanges& ranges, const std::string& items) {
    to.set = unite(std::move(to.set), ranges);
    to.items += items;
  }

  /// At '['. The result's items hold a leading '^' where that is how it is said.
  Class read_class(int depth) {
    if (depth > kMaxNesting) fail("its classes are nested too deep");
    ++at_;
    const bool negated = take("^");
    Class whole;
    std::optional<CodePointRanges> left;  // of `&&`
    bool first = true;
    while (true) {
      if (!more()) fail("a '[' without its ']'");
      if (peek() == ']' && !first) break;
      first = false;
      if (take("&&")) {
        left = left ? intersect(*left, whole.set) : whole.set;
        whole.set.clear();
        whole.plain = false;
        continue;
      }
      class_member(whole, depth);
    }
    ++at_;
    if (left) whole.set = intersect(*left, whole.set);
    if (negated) whole.set = complement(whole.set);
    if (!whole.plain) {
      whole.items = class_items(whole.set);
      if (whole.items.empty()) whole.items = "^\\x{0}-\\x{10ffff}";
    } else if (negated) {
      whole.items.insert(0, "^");
    }
    return whole;
  }

  void class_member(Class& to, int depth) {
    if (take("[:")) return posix_class(to);
    if (peek() == '[') {
      const Class inner = read_class(depth + 1);
      to.plain = false;
      to.set = unite(std::move(to.set), inner.set);
      return;
    }
    if (peek() == '\\') {
      ++at_;
      if (!more()) fail("it ends in a backslash");
      if (const auto named = named_escape()) return add_named(to, named->first, named->second);
      --at_;
    }
    const char32_t low = class_code_point();
    char32_t high = low;
    if (peek() == '-' && peek(1) != ']' && peek(1) != '\0' && !(peek(1) == '&' && peek(2) == '&')) {
      ++at_;
      if (peek() == '[') fail("a range that ends in a class");
      high = class_code_point();
      if (high < low) fail("a range whose end is before its beginning");
    }
    const CodePointRanges range = {{low, high}};
    add(to, range, class_items(range));
  }

  char32_t class_code_point() {
    if (take("\\")) {
      if (!more()) fail("it ends in a backslash");
      if (take("b")) return '\b';
      return escaped_code_point();
    }
    const CodePoint point = decode_utf8(in_.data() + at_);
    at_ += point.length;
    return point.value;
  }

  void posix_class(Class& to) {
    const bool negated = take("^");
    const std::size_t end = in_.find(":]", at_);
    if (end == std::string_view::npos) fail("a '[:' without its ':]'");
    const std::string name(in_.substr(at_, end - at_));
    at_ = end + 2;
    // In Oniguruma's Unicode mode [:alpha:] and the like are the properties of that name.
    const std::string property = name == "punct"   ? "P"
                                 : name == "cntrl" ? "Cc"
                                 : name == "alpha" ? "Alphabetic"
                                 : name == "lower" ? "Lowercase"
                                 : name == "upper" ? "Uppercase"
                                                   : name;
    if (name == "alnum" || name == "graph" || name == "print" || name == "blank") fail("the class [:" + name + ":]");
    add_named(to, property, negated);
  }

  void add_named(Class& to, const std::string& name, bool negated) {
    const NamedSet& set = named_set(name, where_);
    add(to, negated ? complement(set.ranges) : set.ranges, negated ? set.negated : set.items);
  }

  std::string_view in_;
  const std::string& where_;
  std::size_t at_ = 0, atom_ = 0;
  std::string out_;
  std::vector<std::size_t> groups_;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace lorica::tokenizer
