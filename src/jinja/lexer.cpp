#include "jinja/lexer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "jinja/text.hpp"

namespace lorica::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

/// All line ends become \n; one at the very end goes.
std::string normalized(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// What a string literal stands for.
class Escapes {
 public:
  Escapes(std::string_view literal, int line) : literal_(literal), line_(line) {}

  std::string resolve() {
    while (at_ < literal_.size()) {
      if (literal_[at_] != '\\' || at_ + 1 == literal_.size()) {
        out_ += literal_[at_++];
        continue;
      }
      at_ += 2;
      one(literal_[at_ - 1]);
    }
    return std::move(out_);
  }

 private:
  void one(char c) {
    constexpr std::string_view kNames = "abfnrtv\\'\"", kCharacters = "\a\b\f\n\r\t\v\\'\"";
    if (const auto place = kNames.find(c); place != std::string_view::npos) {
      out_ += kCharacters[place];
    } else if (c == 'x' || c == 'u' || c == 'U') {
      code(c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
    } else if (c >= '0' && c <= '7') {
      --at_;
      std::size_t digits = 1;
      while (digits < 3 && at_ + digits < literal_.size() && literal_[at_ + digits] >= '0' &&
             literal_[at_ + digits] <= '7')
        ++digits;
      code(digits, 8);
    } else if (c != '\n') {
      out_ += '\\';
      out_ += c;
    }
  }

  void code(std::size_t digits, int base) {
    std::uint32_t value = 0;
    const char* begin = literal_.data() + at_;
    const char* end = begin + std::min(digits, literal_.size() - at_);
    const auto parsed = std::from_chars(begin, end, value, base);
    if (parsed.ptr != begin + digits || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
      throw SyntaxFailure{line_, "a string has an escape that names no character"};
    at_ += digits;
    append(out_, value);
  }

  std::string_view literal_;
  int line_;
  std::size_t at_ = 0;
  std::string out_;
};

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) data();
    add(Token::Kind::end, "");
    return std::move(tokens_);
  }

 private:
  using Kind = Token::Kind;

  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool at(std::string_view text) const { return rest().starts_with(text); }
  void add(Kind kind, std::string text) { tokens_.push_back({.kind = kind, .text = std::move(text), .line = line_}); }
  [[noreturn]] void refuse(std::string message) const { throw SyntaxFailure{line_, std::move(message)}; }

  /// Steps over `bytes`, and remembers whether a line begins behind them.
  std::string_view take(std::size_t bytes) {
    const std::string_view text = rest().substr(0, bytes);
    line_ += static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    at_ += text.size();
    if (!text.empty()) line_starts_ = text.back() == '\n';
    return text;
  }
  void skip_space() { take(rest().size() - strip(rest(), std::nullopt, true, false).size()); }

  void data() {
    std::size_t open = at_;
    do {
      open = source_.find('{', open);
      if (open == std::string::npos || open + 1 >= source_.size()) {
        const bool starts = line_starts_;
        emit_data(rest(), 0, false, starts);
        at_ = source_.size();
        return;
      }
      const char kind = source_[open + 1];
      if (kind == '{' || kind == '%' || kind == '#') break;
      ++open;
    } while (true);
    const char kind = source_[open + 1];
    char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
    if (sign != '-' && sign != '+') sign = '\0';
    if (kind == '{' && sign == '+') sign = '\0';
    const bool starts = line_starts_;
    const std::string_view text = rest().substr(0, open - at_);
    emit_data(text, sign, kind != '{', starts);
    take(text.size() + 2 + (sign ? 1 : 0));
    if (kind == '#') return comment();
    if (kind == '{') {
      add(Kind::variable_begin, "");
      return inside("}}", Kind::variable_end);
    }
    if (raw()) return;
    add(Kind::block_begin, "");
    inside("%}", Kind::block_end);
  }

  /// `sign` is that of the tag behind; `strips`: the tag takes the white space before it on its own line.
  void emit_data(std::string_view text, char sign, bool strips, bool line_starts) {
    const int line = line_;
    if (sign == '-') {
      text = strip(text, std::nullopt, false, true);
    } else if (sign != '+' && strips) {
      const std::size_t start = text.rfind('\n') + 1;  // 0 if there is none
      const std::string_view before = text.substr(start);
      if ((start > 0 || line_starts) && strip(before, std::nullopt, true, false).empty()) text = text.substr(0, start);
    }
    if (!text.empty()) tokens_.push_back({.kind = Kind::data, .text = std::string(text), .line = line});
  }

  /// Behind a tag's closing sign and braces: `trims` takes the line end.
  bool close(std::string_view braces, bool trims) {
    if (at("-") && rest().substr(1).starts_with(braces)) {
      take(1 + braces.size());
      skip_space();
      return true;
    }
    if (trims && at("+") && rest().substr(1).starts_with(braces)) {
      take(1 + braces.size());
      return true;
    }
    if (!at(braces)) return false;
    take(braces.size());
    if (trims && at("\n")) take(1);
    return true;
  }

  void comment() {
    const std::size_t end = rest().find("#}");
    if (end == std::string::npos) refuse("a comment isn't closed: #} is missing");
    const bool signed_end = end > 0 && (rest()[end - 1] == '-' || rest()[end - 1] == '+');
    take(signed_end ? end - 1 : end);
    close("#}", true);
  }

  /// {% raw %} … {% endraw %}, just behind the first {% (and its sign).
  bool raw() {
    std::string_view text = strip(rest(), std::nullopt, true, false);
    if (!text.starts_with("raw")) return false;
    text = strip(text.substr(3), std::nullopt, true, false);
    const bool minus = text.starts_with("-%}");
    if (!minus && !text.starts_with("%}")) return false;
    take(rest().size() - text.size() + (minus ? 3 : 2));
    if (minus) skip_space();
    if (rest().empty()) return true;
    const bool starts = line_starts_;
    for (std::size_t open = rest().find("{%"); open != std::string::npos; open = rest().find("{%", open + 1)) {
      std::string_view tag = rest().substr(open + 2);
      const char sign = !tag.empty() && (tag[0] == '-' || tag[0] == '+') ? tag[0] : '\0';
      tag = strip(tag.substr(sign ? 1 : 0), std::nullopt, true, false);
      if (!tag.starts_with("endraw")) continue;
      tag = strip(tag.substr(6), std::nullopt, true, false);
      if (!tag.starts_with("%}") && !tag.starts_with("-%}") && !tag.starts_with("+%}")) continue;
      emit_data(rest().substr(0, open), sign, true, starts);
      take(rest().size() - tag.size());
      return close("%}", true);
    }
    refuse("{% raw %} isn't closed: {% endraw %} is missing");
  }

  void inside(std::string_view braces, Kind end) {
    std::vector<char> open;
    const int start = line_;
    while (at_ < source_.size()) {
      if (open.empty() && close(braces, end == Kind::block_end)) return add(end, "");
      if (const auto space = rest().size() - strip(rest(), std::nullopt, true, false).size(); space > 0) {
        take(space);
        continue;
      }
      const char c = source_[at_];
      if (starts_name(c)) {
        name();
      } else if (is_digit(c)) {
        number();
      } else if (c == '\'' || c == '"') {
        string(c);
      } else {
        sign(open);
      }
    }
    throw SyntaxFailure{start, fmt::format("a tag isn't closed: {} is missing", braces)};
  }

  void name() {
    std::size_t size = 1;
    while (size < rest().size() && (starts_name(rest()[size]) || is_digit(rest()[size]))) ++size;
    add(Kind::name, std::string(take(size)));
  }

  void string(char quote) {
    std::size_t end = 1;
    while (end < rest().size() && rest()[end] != quote) end += rest()[end] == '\\' ? 2 : 1;
    if (end >= rest().size()) refuse("a string isn't closed");
    const int line = line_;
    const std::string_view literal = take(end + 1);
    tokens_.push_back(
        {.kind = Kind::string, .text = Escapes(literal.substr(1, end - 1), line).resolve(), .line = line});
  }

  std::string digits(std::size_t& place, auto accepts) const {
    std::string out;
    while (place < rest().size()) {
      if (rest()[place] == '_' && !out.empty() && place + 1 < rest().size() && accepts(rest()[place + 1])) ++place;
      if (!accepts(rest()[place])) break;
      out += rest()[place++];
    }
    return out;
  }

  void number() {
    std::size_t place = 0;
    const char marker = rest().size() > 1 && rest()[0] == '0' ? static_cast<char>(rest()[1] | 0x20) : '\0';
    const int base = marker == 'x' ? 16 : marker == 'o' ? 8 : marker == 'b' ? 2 : 10;
    if (base != 10) place = 2;
    std::string text = digits(place, [base](char c) {
      const char low = static_cast<char>(c | 0x20);
      return base == 16 ? is_digit(c) || (low >= 'a' && low <= 'f') : c >= '0' && c < '0' + base;
    });
    const bool after_dot = !tokens_.empty() && tokens_.back().kind == Kind::sign && tokens_.back().text == ".";
    const bool real = base == 10 && !after_dot && fraction(place, text);
    const int line = line_;
    Value value;
    if (real) {
      value = Value::real(std::strtod(text.c_str(), nullptr));
    } else {
      std::int64_t integer = 0;
      const auto parsed = std::from_chars(text.data(), text.data() + text.size(), integer, base);
      if (text.empty() || parsed.ptr != text.data() + text.size() || parsed.ec != std::errc())
        refuse(fmt::format("'{}' isn't a whole number of at most 64 bits", rest().substr(0, place)));
      value = Value::integer(integer);
    }
    tokens_.push_back({.kind = Kind::number, .text = std::string(take(place)), .line = line, .number = value});
  }

  /// Adds what follows the whole part of a float, if it does.
  bool fraction(std::size_t& place, std::string& text) const {
    bool real = false;
    if (place + 1 < rest().size() && rest()[place] == '.' && is_digit(rest()[place + 1])) {
      ++place;
      text += '.' + digits(place, is_digit);
      real = true;
    }
    std::size_t exponent = place;
    if (exponent < rest().size() && (rest()[exponent] | 0x20) == 'e') {
      std::string mark = "e";
      ++exponent;
      if (exponent < rest().size() && (rest()[exponent] == '+' || rest()[exponent] == '-')) mark += rest()[exponent++];
      const std::string power = digits(exponent, is_digit);
      if (!power.empty()) {
        text += mark + power;
        place = exponent;
        real = true;
      }
    }
    return real;
  }

  void sign(std::vector<char>& open) {
    constexpr std::array<std::string_view, 25> kSigns = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         "=",  ">",  "<",  ".",  ":",  "|",  ","};
    for (const std::string_view sign : kSigns) {
      if (!at(sign)) continue;
      const char c = sign[0];
      if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
      if (c == ')' || c == ']' || c == '}') {
        if (open.empty()) refuse(fmt::format("unexpected '{}'", c));
        if (open.back() != c) refuse(fmt::format("unexpected '{}', expected '{}'", c, open.back()));
        open.pop_back();
      }
      add(Kind::sign, std::string(take(sign.size())));
      return;
    }
    refuse(fmt::format("unexpected character {}", in_quotes(encode(decode(rest().substr(0, 4)).substr(0, 1)))));
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  if (!valid_utf8(source)) throw SyntaxFailure{1, "the template isn't valid UTF-8"};
  return Lexer(normalized(source)).run();
}

}  // namespace lorica::jinja
