// From a row's columns to the pieces of text that are tokenized.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/options.hpp"
#include "data/templates.hpp"

namespace lorica::data {

/// The format whose columns the row has: messages, conversations, prompt + completion, instruction + output, context +
/// question + answer, question + answer, text; the first in this order, among the mapped columns if they make one.
/// Ignored columns count as missing; `mapping` is what applies to the row's file.
/// Throws BadRow: it names the columns that the row has and a mapping that would do, or what kind of data this is.
DatasetFormat detect_format(const nlohmann::json& row, const std::vector<MappedColumn>& mapping,
                            const std::vector<std::string>& ignored);

struct RenderedRow {
  std::vector<Segment> segments;
  std::vector<std::string> unused;  ///< columns that the format doesn't use, and keys of turns ("messages[].name")
};
/// Throws BadRow: a column is missing or is not text, an unknown role, a column that changes what the row means and
/// that the format can't carry.
RenderedRow render_row(const nlohmann::json& row, DatasetFormat format, const DataOptions& options);

}  // namespace lorica::data
