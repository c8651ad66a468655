// Finds the rows of a JSON file without parsing them, so that a file of any size is read in pieces, rows are parsed in
// parallel, and each knows its place.
#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "data/data_file.hpp"
#include "data/split_names.hpp"
#include "data/text_file.hpp"

namespace lorica::data {
namespace {

using Visitor = std::function<bool(const JsonRow&)>;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/// A position in the text and its line.
class Scanner {
 public:
  Scanner(std::string_view text, const std::string& name) : text_(text), name_(name) {
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (text_.starts_with(kByteOrderMark)) position_ = line_begin_ = kByteOrderMark.size();
  }

  std::size_t position() const { return position_; }
  std::int64_t line() const { return line_; }
  bool at_end() const { return position_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[position_]; }
  std::string_view rest() const { return text_.substr(position_); }
  /// What stands between a former state of this scanner and here.
  JsonRow row_since(const Scanner& before) const {
    const auto lead = text_.substr(before.line_begin_, before.position_ - before.line_begin_);
    return {.text = text_.substr(before.position_, position_ - before.position_),
            .line = before.line_,
            .column = place_of(lead, lead.size()).column};
  }

  void skip_space() {
    while (!at_end() && is_space(peek())) step();
  }

  void expect(char c, const char* what) {
    skip_space();
    if (peek() != c || at_end()) fail(fmt::format("'{}' expected {}, not {}", c, what, what_stands_here()));
    step();
  }

  /// Moves past one value: its brackets balance and its strings are closed; what is inside is for the parser to check.
  void skip_value() {
    skip_space();
    const Scanner start = *this;
    if (at_end()) fail("the file ends where a value should stand");
    if (!try_skip_value()) start.fail("what starts here is never closed (is the file cut short?)");
  }

  /// The same, false where the value isn't closed.
  bool try_skip_value() {
    if (peek() == '"') return skip_string();
    if (peek() != '{' && peek() != '[') {
      while (!at_end() && !is_space(peek()) && peek() != ',' && peek() != ']' && peek() != '}') step();
      return true;
    }
    std::int64_t depth = 0;
    do {
      if (at_end()) return false;
      const char c = peek();
      if (c == '"') {
        if (!skip_string()) return false;
        continue;
      }
      depth += c == '{' || c == '[';
      depth -= c == '}' || c == ']';
      step();
    } while (depth > 0);
    return true;
  }

  [[noreturn]] void fail(const std::string& what) const {
    raise<DataError>("{}:{}:{}: malformed JSON: {}", name_, line_, row_since(*this).column, what);
  }

  std::string what_stands_here() const {
    if (at_end()) return "the end of the file";
    const auto c = static_cast<unsigned char>(peek());
    return c < 0x20 || c >= 0x7F ? fmt::format("byte 0x{:02X}", c) : fmt::format("'{}'", peek());
  }

 private:
  void step() {
    if (text_[position_++] != '\n') return;
    ++line_;
    line_begin_ = position_;
  }

  bool skip_string() {
    step();
    while (!at_end() && peek() != '"') {
      if (peek() == '\\') step();
      if (!at_end()) step();
    }
    if (at_end()) return false;
    step();
    return true;
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t position_ = 0, line_begin_ = 0;
  std::int64_t line_ = 1;
};

/// Hands rows on, one behind, as a row shares its line with the next one if that starts there, too.
class Output {
 public:
  explicit Output(const Visitor& visitor) : visitor_(visitor) {}
  /// False when the visitor wants no more.
  bool add(JsonRow row) {
    if (held_ && held_->line == row.line) held_->shares_line = row.shares_line = true;
    if (!flush()) return false;
    held_ = row;
    return true;
  }
  bool flush() {
    if (!held_) return true;
    const auto row = *held_;
    held_.reset();
    return visitor_(row);
  }

 private:
  const Visitor& visitor_;
  std::optional<JsonRow> held_;
};

/// False when the visitor wants no more.
bool visit_array(Scanner& scanner, Output& output) {
  scanner.expect('[', "at the start of the rows");
  scanner.skip_space();
  if (scanner.peek() == ']') {
    scanner.expect(']', "");
    return true;
  }
  for (;;) {
    scanner.skip_space();
    const auto begin = scanner;
    constexpr std::string_view kStarts = "{[\"-0123456789tfnNI";  // of any value, so that the parser says what a row is
    if (!scanner.at_end() && kStarts.find(scanner.peek()) == std::string_view::npos) {
      scanner.fail(fmt::format("a row expected, not {}", scanner.what_stands_here()));
    }
    scanner.skip_value();
    if (!output.add(scanner.row_since(begin))) return false;
    scanner.skip_space();
    if (scanner.peek() != ',') break;
    scanner.expect(',', "");
  }
  scanner.expect(']', "or ',' after a row");
  return true;
}

/// Arrays of rows and rows, one after the other, on any lines.
void visit_values(Scanner& scanner, Output& output) {
  for (scanner.skip_space(); !scanner.at_end(); scanner.skip_space()) {
    if (scanner.peek() == '[') {
      if (!visit_array(scanner, output)) return;
    } else if (scanner.peek() == '{') {
      const auto begin = scanner;
      scanner.skip_value();
      if (!output.add(scanner.row_since(begin))) return;
    } else {
      scanner.fail(fmt::format("another row or the end of the file expected, not {}", scanner.what_stands_here()));
    }
  }
}

/// Several objects in one line are several rows. What follows the last of them is left to the parser, as part of it.
bool visit_line(const JsonRow& line, const std::string& name, Output& output) {
  const bool may_be_several =
      line.text.find("}{") != std::string_view::npos || line.text.find("} {") != std::string_view::npos;
  if (!may_be_several) return output.add(line);
  Scanner scanner(line.text, name);
  for (;;) {
    const auto begin = scanner;
    const bool closed = scanner.peek() == '{' && scanner.try_skip_value();
    auto row = scanner.row_since(begin);
    scanner.skip_space();
    const bool last = !closed || scanner.peek() != '{';
    if (last) row.text = begin.rest();
    row.column += line.column - 1;
    row.line = line.line;
    if (!output.add(row)) return false;
    if (last) return true;
  }
}

void visit_lines(std::string_view text, const std::string& name, std::size_t begin, Output& output) {
  for (std::int64_t line = 1; begin < text.size(); ++line) {
    const auto end = std::min(text.find('\n', begin), text.size());
    const auto row = text.substr(begin, end - begin);
    const auto first = row.find_first_not_of(" \t\r");
    if (first != std::string_view::npos) {
      const auto last = row.find_last_not_of(" \t\r");
      if (!visit_line({row.substr(first, last + 1 - first), line, static_cast<std::int64_t>(first) + 1}, name,
                      output)) {
        return;
      }
    }
    begin = end + 1;
  }
}

/// What a file that is one object holds under a key.
struct Entry {
  std::string key;
  Scanner begin;  ///< at the value
  char kind;      ///< its first byte
  char inside;    ///< of a list or an object: the first byte inside (of a list's element, of an object's value)
};

/// The keys of the object, or nothing if it isn't well formed.
std::vector<Entry> entries_of(Scanner scanner) {
  std::vector<Entry> entries;
  scanner.expect('{', "");
  scanner.skip_space();
  while (scanner.peek() == '"') {
    const auto begin = scanner;
    scanner.skip_value();
    auto key = std::string(scanner.row_since(begin).text);
    key = key.substr(1, key.size() - 2);
    scanner.skip_space();
    if (scanner.peek() != ':') return {};
    scanner.expect(':', "after a key");
    scanner.skip_space();
    auto inside = scanner;
    const auto kind = scanner.peek();
    if (kind == '[' || kind == '{') {
      inside.expect(kind, "");
      inside.skip_space();
      if (kind == '{' && inside.peek() == '"') {
        inside.skip_value();
        inside.skip_space();
        if (inside.peek() == ':') inside.expect(':', "");
        inside.skip_space();
      }
    }
    entries.push_back({std::move(key), scanner, kind, inside.peek()});
    if (!scanner.try_skip_value()) return {};
    scanner.skip_space();
    if (scanner.peek() != ',') break;
    scanner.expect(',', "");
    scanner.skip_space();
  }
  return scanner.peek() == '}' ? entries : std::vector<Entry>();
}

std::string quoted_keys(const std::vector<Entry>& entries) {
  std::vector<std::string> keys;
  for (const auto& entry : entries) {
    if (keys.size() == 4) {
      keys.emplace_back("…");
      break;
    }
    keys.push_back('"' + entry.key + '"');
  }
  return join(keys, ", ");
}

/// Refuses objects that hold many rows in a way that isn't read, as pandas and others write them.
void refuse_other_layouts(const std::vector<Entry>& entries, const Scanner& at, const std::string& name) {
  const auto all = [&](const auto& holds) { return std::all_of(entries.begin(), entries.end(), holds); };
  const auto raise_layout = [&](std::string_view what, std::string_view remedy) {
    raise<DataError>("{}:{}: the file is one object with {} ({}), not a list of rows. {}", name, at.line(), what,
                     quoted_keys(entries), remedy);
  };
  if (entries.empty()) return;
  constexpr std::string_view kRecords =
      "Write one object a row: with pandas, df.to_json(path, orient=\"records\", lines=True).";
  if (all([](const Entry& e) { return e.kind == '{' || e.kind == '['; }) &&
      all([](const Entry& e) { return is_split_name(e.key); })) {
    raise_layout("several splits", "Write each split to a file of its own (train.jsonl, test.jsonl).");
  }
  if (all([](const Entry& e) { return e.kind == '{'; })) {
    const bool objects = all([](const Entry& e) { return e.inside == '{'; });
    raise_layout(objects ? "objects under its keys" : "columns or rows under its keys", kRecords);
  }
  const auto is_column = [](const Entry& e) { return e.kind == '[' && e.inside != '{' && e.inside != '['; };
  if (all(is_column)) raise_layout("a list for each column", kRecords);
}

/// A file that is one object: the rows of its list "data", or itself a row.
void visit_object(Scanner& scanner, const JsonRow& object, const std::string& name, Output& output,
                  std::vector<std::string>* unused) {
  const auto entries = entries_of(scanner);
  const auto data = std::find_if(entries.begin(), entries.end(),
                                 [](const Entry& entry) { return entry.key == "data" && entry.kind == '['; });
  if (data == entries.end()) {
    refuse_other_layouts(entries, scanner, name);
    output.add(object);
    return;
  }
  for (const auto& entry : entries) {
    if (&entry == &*data) continue;
    if (entry.kind == '[' && entry.inside == '{') {
      entry.begin.fail(
          fmt::format("the file holds two lists of rows, \"data\" and \"{}\": which one is meant? Write "
                      "the rows to a file of their own",
                      entry.key));
    }
    if (unused != nullptr) unused->push_back(entry.key);
  }
  auto inside = data->begin;
  visit_array(inside, output);
}

/// Whether a line break stands inside a string, which JSON doesn't allow: the value isn't one then.
bool breaks_inside_string(std::string_view value) {
  bool inside = false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (inside && value[i] == '\\') {
      ++i;
    } else if (value[i] == '"') {
      inside = !inside;
    } else if (inside && value[i] == '\n') {
      return true;
    }
  }
  return false;
}

void visit_text(std::string_view text, const std::string& name, bool lines, Output& output,
                std::vector<std::string>* unused) {
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    raise<DataError>("{}: {}", name, utf8_fault(text, name));
  }
  Scanner scanner(text, name);
  const auto start = scanner.position();
  scanner.skip_space();
  if (scanner.at_end()) return;
  if (scanner.peek() == '[') return visit_values(scanner, output);
  if (scanner.peek() != '{') {
    if (lines) return visit_lines(text, name, start, output);
    scanner.fail(fmt::format("rows must stand in a list, in the list \"data\" of an object, or one a line; here is {}",
                             scanner.what_stands_here()));
  }
  auto after = scanner;
  if (!after.try_skip_value()) {
    if (lines) return visit_lines(text, name, start, output);
    scanner.fail("what starts here is never closed (is the file cut short?)");
  }
  const auto first = after.row_since(scanner);
  const bool spans_lines = first.text.find('\n') != std::string_view::npos && !breaks_inside_string(first.text);
  after.skip_space();
  if (after.at_end() && (spans_lines || !lines)) return visit_object(scanner, first, name, output, unused);
  // Objects over several lines each; else lines, of which each may be broken without harm to the others. Many files
  // named .json are JSON lines.
  if (spans_lines) return visit_values(scanner, output);
  visit_lines(text, name, start, output);
}

}  // namespace

void visit_json(std::string_view text, const std::string& name, bool lines, const Visitor& visitor,
                std::vector<std::string>* unused) {
  Output output(visitor);
  visit_text(text, name, lines, output, unused);
  output.flush();
}

}  // namespace lorica::data
