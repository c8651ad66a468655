// From a row's columns to the pieces of text that are tokenized.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/data_file.hpp"
#include "data/options.hpp"
#include "data/templates.hpp"

namespace lorica::data {

/// What is wrong with a row; the caller adds the file and line.
class BadRow : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Parses a row's JSON. A document has the one column `text`. Throws BadRow.
nlohmann::json parse_row(const RawRow& row);

/// The format whose columns the row has: messages, conversations, prompt + completion, instruction + output, context +
/// question + answer, question + answer, text; the first in this order. Throws BadRow naming the columns that it has.
RowFormat detect_format(const nlohmann::json& row);

/// Throws BadRow: a column is missing or is not text, an unknown role.
std::vector<Segment> render_row(const nlohmann::json& row, RowFormat format);

}  // namespace lorica::data
