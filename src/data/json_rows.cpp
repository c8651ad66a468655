// Finds the rows of a JSON file without parsing them, so that a file of any size is read in pieces, rows are parsed in
// parallel, and each knows its line.
#include "base/error.hpp"
#include "data/data_file.hpp"

namespace lorica::data {
namespace {

using Visitor = std::function<bool(std::string_view, std::int64_t)>;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/// A position in the text and its line number.
class Scanner {
 public:
  Scanner(std::string_view text, const std::string& name) : text_(text), name_(name) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (text_.starts_with(kByteOrderMark)) position_ = kByteOrderMark.size();
  }

  std::size_t position() const { return position_; }
  std::int64_t line() const { return line_; }
  bool at_end() const { return position_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[position_]; }
  std::string_view since(std::size_t begin) const { return text_.substr(begin, position_ - begin); }

  void skip_space() {
    while (!at_end() && is_space(peek())) step();
  }

  void expect(char c, const char* what) {
    skip_space();
    if (peek() != c || at_end()) fail(line_, fmt::format("malformed JSON: '{}' expected {}", c, what));
    step();
  }

  /// Moves past one value: its brackets balance and its strings are closed; what is inside is for the parser to check.
  void skip_value() {
    skip_space();
    const auto start = line_;
    if (at_end()) fail(start, "malformed JSON: the file ends where a value should stand");
    if (peek() == '"') return skip_string(start);
    if (peek() != '{' && peek() != '[') {
      while (!at_end() && !is_space(peek()) && peek() != ',' && peek() != ']' && peek() != '}') step();
      return;
    }
    std::int64_t depth = 0;
    do {
      if (at_end()) fail(start, "malformed JSON: what starts here is never closed (is the file cut short?)");
      const char c = peek();
      if (c == '"') {
        skip_string(start);
        continue;
      }
      depth += c == '{' || c == '[';
      depth -= c == '}' || c == ']';
      step();
    } while (depth > 0);
  }

  [[noreturn]] void fail(std::int64_t line, const std::string& what) const {
    raise<DataError>("{}:{}: {}", name_, line, what);
  }

 private:
  void step() { line_ += text_[position_++] == '\n'; }

  void skip_string(std::int64_t start) {
    step();
    while (!at_end() && peek() != '"') {
      if (peek() == '\\') step();
      if (!at_end()) step();
    }
    if (at_end()) fail(start, "malformed JSON: a string that starts here or in what starts here is never closed");
    step();
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t position_ = 0;
  std::int64_t line_ = 1;
};

void visit_array(Scanner& scanner, const Visitor& visitor) {
  scanner.expect('[', "at the start of the rows");
  scanner.skip_space();
  if (scanner.peek() == ']') return scanner.expect(']', "");
  for (;;) {
    scanner.skip_space();
    const auto begin = scanner.position();
    const auto line = scanner.line();
    scanner.skip_value();
    if (scanner.position() == begin) scanner.fail(line, "malformed JSON: a row is missing between two commas");
    if (!visitor(scanner.since(begin), line)) return;
    scanner.skip_space();
    if (scanner.peek() != ',') break;
    scanner.expect(',', "");
  }
  scanner.expect(']', "or ',' after a row");
  scanner.skip_space();
}

void visit_lines(std::string_view text, std::size_t begin, std::int64_t line, const Visitor& visitor) {
  while (begin < text.size()) {
    const auto end = std::min(text.find('\n', begin), text.size());
    const auto row = text.substr(begin, end - begin);
    const auto first = row.find_first_not_of(" \t\r");
    if (first != std::string_view::npos && !visitor(row.substr(first), line)) return;
    begin = end + 1;
    ++line;
  }
}

/// Moves to the value of the key "data" if it is an array. The scanner stands at the object's brace.
bool find_data(Scanner& scanner) {
  scanner.expect('{', "");
  scanner.skip_space();
  while (scanner.peek() == '"') {
    const auto begin = scanner.position();
    scanner.skip_value();
    const bool found = scanner.since(begin) == "\"data\"";
    scanner.expect(':', "after a key");
    scanner.skip_space();
    if (found && scanner.peek() == '[') return true;
    scanner.skip_value();
    scanner.skip_space();
    if (scanner.peek() != ',') break;
    scanner.expect(',', "");
    scanner.skip_space();
  }
  return false;
}

}  // namespace

void visit_json(std::string_view text, const std::string& name, bool lines, const Visitor& visitor) {
  Scanner scanner(text, name);
  if (lines) return visit_lines(text, scanner.position(), 1, visitor);
  scanner.skip_space();
  if (scanner.at_end()) return;
  if (scanner.peek() == '[') {
    visit_array(scanner, visitor);
    return;
  }
  if (scanner.peek() != '{') {
    scanner.fail(scanner.line(),
                 "malformed JSON: rows must stand in a list, in the list \"data\" of an object, or one a line");
  }
  auto after = scanner;
  after.skip_value();
  const auto object = after.since(scanner.position());
  after.skip_space();
  // Many files named .json are JSON lines.
  if (!after.at_end()) return visit_lines(text, scanner.position(), scanner.line(), visitor);
  auto inside = scanner;
  if (find_data(inside)) return visit_array(inside, visitor);
  visitor(object, scanner.line());
}

}  // namespace lorica::data
