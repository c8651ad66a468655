// Reading columns under other names than the formats have.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "data/options.hpp"

namespace lorica::data {

/// From "prompt=question", … : the format's name first, then the data's. Throws ConfigError: no "=", a name on the left
/// that no format reads (with the pair the other way round where that would be right), a name given twice.
std::vector<MappedColumn> parse_column_mapping(const std::vector<std::string>& pairs);

/// The names at the top of a row that the mapping reads.
std::set<std::string> mapped_sources(const std::vector<MappedColumn>& mapping);

/// Renames the row's columns. Throws BadRow if one that is needed isn't there.
void apply_mapping(nlohmann::json& row, const std::vector<MappedColumn>& mapping);

/// A mapping that would make the row readable, as the option takes it ("prompt=question,completion=reply"); "" if its
/// columns' names say nothing.
std::string suggest_mapping(const nlohmann::json& row);

}  // namespace lorica::data
