// One line at the bottom of a terminal that is rewritten in place, and log lines that don't tear it: while a StatusLine
// on standard error lives, spdlog's default logger writes through it (line erased, log line, line drawn again).
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

namespace lorica::train {

/// Columns of the terminal behind `stream`; 0 if it isn't one.
int terminal_columns(std::FILE* stream);

/// Taken where the width can't be asked for.
inline constexpr int kUnknownColumns = 120;

/// Columns that UTF-8 text takes on a terminal: 2 for a wide character, 0 for one that joins the one before it.
int display_width(std::string_view text);

/// `text` cut to at most `columns` columns, between characters.
std::string fit_columns(std::string_view text, int columns);

class StatusLine {
 public:
  /// The line's text for so many columns.
  using Layout = std::function<std::string(int columns)>;

  /// `terminal`: whether the line is rewritten; otherwise only print_line() writes.
  StatusLine(std::FILE* stream, bool terminal);
  /// Leaves the last line standing and gives the logger its own sinks back.
  ~StatusLine();
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;
  /// Shows the line. When the terminal's size changes, it is laid out anew without being asked.
  void show(Layout layout);
  /// A whole line above the status line.
  void print_line(std::string_view text);
  /// Ends the status line: it stays where it is, what follows goes below it.
  void close();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  std::jthread resizes_;
};

}  // namespace lorica::train
