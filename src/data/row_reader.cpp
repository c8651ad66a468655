#include "data/row_reader.hpp"

#include <algorithm>

#include "base/strings.hpp"
#include "data/row_keys.hpp"
#include "data/row_parser.hpp"

namespace lorica::data {

const nlohmann::json* RowReader::find(const std::string& column) const {
  const auto found = row_.find(column);
  return found == row_.end() || ignores(column) ? nullptr : &*found;
}

bool RowReader::has(const std::string& column) const {
  const auto* found = find(column);
  return found != nullptr && !found->is_null();
}

const nlohmann::json& RowReader::value(const std::string& column) {
  const auto* found = find(column);
  if (found == nullptr) {
    bad_row("the column '{}' is {}; the row has {}", column, ignores(column) ? "ignored" : "missing", columns());
  }
  use(column);
  return *found;
}

std::string RowReader::text(const std::string& column) {
  const auto& found = value(column);
  if (found.is_string()) return found.get<std::string>();
  if (found.is_null()) bad_row("the column '{}' is null", column);
  bad_row("the column '{}' must be text, not {}", column, kind_of(found));
}

std::string RowReader::optional_text(const std::string& column) {
  if (ignores(column)) return "";
  use(column);
  return has(column) ? text(column) : std::string();
}

std::vector<std::string> RowReader::unread(DatasetFormat format) const {
  std::vector<std::string> names(left_.begin(), left_.end());
  for (const auto& [key, value] : row_.items()) {
    if (used_.contains(key) || is_blank(value)) continue;
    if (!ignores(key)) {
      if (is_row_loss(key)) {
        check_row_loss(key, value);
        continue;
      }
      refuse_meaning(key, value, format);
    }
    names.push_back(key);
  }
  return names;
}

bool RowReader::ignores(const std::string& key) const {
  return std::find(ignored_.begin(), ignored_.end(), key) != ignored_.end();
}

std::string RowReader::columns() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : row_.items()) names.push_back(name);
  return names.empty() ? "none" : join(names, ", ");
}

}  // namespace lorica::data
