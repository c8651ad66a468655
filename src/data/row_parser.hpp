// From a row's text to its columns.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "data/data_file.hpp"

namespace lorica::data {

/// What is wrong with a row; the caller adds file and row. A fault inside the row's text knows its place in the file.
class BadRow : public std::runtime_error {
 public:
  explicit BadRow(const std::string& what, std::int64_t line = 0, std::int64_t column = 0)
      : std::runtime_error(what), line_(line), column_(column) {}
  std::int64_t line() const { return line_; }  ///< 0: the row as a whole
  std::int64_t column() const { return column_; }

 private:
  std::int64_t line_, column_;
};

template <class... Args>
[[noreturn]] void bad_row(fmt::format_string<Args...> format, Args&&... args) {
  throw BadRow(fmt::format(format, std::forward<Args>(args)...));
}

/// Parses a row's JSON, in which NaN and Infinity (as Python writes them) count as null. A document has the one column
/// `text`, as clean_text() gives it. Throws BadRow; `name`, the file's, is for its message.
nlohmann::json parse_row(const RawRow& row, const std::string& name);

/// "text", "a number", "a list", … ; of an Arrow value that has no JSON counterpart, its type
std::string kind_of(const nlohmann::json& value);

}  // namespace lorica::data
