// Reads the columns of one row and keeps account of those that were not read.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "data/options.hpp"

namespace lorica::data {

class RowReader {
 public:
  /// `ignored`: columns, and keys of turns, that count as missing, whatever they may mean. Both must outlive this.
  RowReader(const nlohmann::json& row, const std::vector<std::string>& ignored) : row_(row), ignored_(ignored) {}

  /// Present and not null.
  bool has(const std::string& column) const;
  /// The value of a column, which counts as read. Throws BadRow if it is missing.
  const nlohmann::json& value(const std::string& column);
  /// The same as text. Throws BadRow if it is missing, null or no text.
  std::string text(const std::string& column);
  /// "" if it is missing or null.
  std::string optional_text(const std::string& column);
  /// Counts a column as read.
  void use(const std::string& column) { used_.insert(column); }
  /// Notes a key inside a column that is left aside ("messages[].name").
  void leave(const std::string& key) { left_.insert(key); }

  bool ignores(const std::string& key) const;

  /// The columns that were not read and say something, "messages[].name" and the like included. Throws BadRow for one
  /// that changes what the row means, unless it is ignored.
  std::vector<std::string> unread(DatasetFormat format) const;

  const nlohmann::json& row() const { return row_; }
  std::string columns() const;  ///< names, for messages

 private:
  /// The value of a column that isn't ignored, or nullptr.
  const nlohmann::json* find(const std::string& column) const;
  const nlohmann::json& row_;
  const std::vector<std::string>& ignored_;
  std::set<std::string> used_, left_;
};

}  // namespace lorica::data
