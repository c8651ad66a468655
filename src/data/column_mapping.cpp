#include "data/column_mapping.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "data/row_parser.hpp"

namespace lorica::data {
namespace {

using Json = nlohmann::json;

const std::vector<std::string>& columns_of_formats() {
  static const std::vector<std::string> columns = {"text",     "instruction", "input",   "output",
                                                   "system",   "history",     "prompt",  "completion",
                                                   "question", "answer",      "context", "messages"};
  return columns;
}

bool is_column(const std::string& name) {
  const auto& known = columns_of_formats();
  return std::find(known.begin(), known.end(), name) != known.end();
}

/// Columns that a row may lack.
bool is_optional(const std::string& column) {
  return column == "input" || column == "system" || column == "history";
}

std::string columns_of(const Json& row) {
  std::vector<std::string> names;
  for (const auto& [name, value] : row.items()) names.push_back(name);
  return names.empty() ? "none" : join(names, ", ");
}

/// The value at "a" or, where the row has no such column, at "a.b".
std::optional<Json> value_at(const Json& row, const std::string& source) {
  if (const auto found = row.find(source); found != row.end()) return *found;
  const Json* value = &row;
  for (const auto& part : split(source, '.')) {
    if (!value->is_object() || !value->contains(part)) return std::nullopt;
    value = &value->at(part);
  }
  return *value;
}

/// What else stands beside "b" in "a" stays there.
void erase_at(Json& row, const std::string& source) {
  if (row.erase(source) > 0) return;
  Json* value = &row;
  const auto parts = split(source, '.');
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    if (!value->is_object() || !value->contains(parts[i])) return;
    value = &(*value)[parts[i]];
  }
  if (value->is_object()) value->erase(parts.back());
}

using Names = std::vector<std::string_view>;
// What data sets call the parts, most telling name first.
const Names kPromptNames{"prompt", "instruction", "question", "query",  "problem",  "input",    "inputs",
                         "user",   "human",       "request",  "source", "dialogue", "document", "article"};
const Names kAnswerNames{"completion", "output",     "outputs",    "response", "answer",    "answers",
                         "solution",   "target",     "targets",    "reply",    "assistant", "gpt",
                         "summary",    "highlights", "label_text", "chosen"};
const Names kTextNames{"text",     "content", "contents", "body", "raw_content", "document", "article", "code",
                       "markdown", "story",   "passage",  "page", "sentence",    "abstract", "data"};
const Names kTurnNames{"messages",  "conversations", "conversation", "dialog", "dialogue",
                       "dialogues", "chat",          "turns",        "data"};
const Names kContextNames{"input", "context"};

template <class Fits>
std::string find_name(const Json& row, const Names& names, const Fits& fits) {
  for (const auto name : names) {
    for (const auto& [column, value] : row.items()) {
      if (to_lower(column) == name && fits(value)) return column;
    }
  }
  return "";
}

bool is_turns(const Json& value) {
  return value.is_array() && !value.empty() && value.front().is_object() &&
         (value.front().contains("role") || value.front().contains("from"));
}

std::string pairs_text(const std::vector<MappedColumn>& pairs) {
  std::vector<std::string> texts;
  for (const auto& [column, source] : pairs) {
    if (column != source) texts.push_back(column + "=" + source);
  }
  return join(texts, ",");
}

bool is_text(const Json& value) {
  return value.is_string();
}

/// Pairs for the columns of `row`, whose own name is `prefix` ("data."; "" for a whole row).
std::vector<MappedColumn> suggest(const Json& row, const std::string& prefix) {
  const auto turns = find_name(row, kTurnNames, is_turns);
  if (!turns.empty()) return {{"messages", prefix + turns}};
  const auto answer = find_name(row, kAnswerNames, is_text);
  const auto prompt = find_name(row, kPromptNames, is_text);
  if (!answer.empty() && !prompt.empty() && answer != prompt) {
    if (to_lower(prompt) != "instruction") return {{"prompt", prefix + prompt}, {"completion", prefix + answer}};
    std::vector<MappedColumn> pairs{{"instruction", prefix + prompt}, {"output", prefix + answer}};
    const auto context = find_name(row, kContextNames, is_text);
    if (!context.empty()) pairs.push_back({"input", prefix + context});
    return pairs;
  }
  const auto text = find_name(row, kTextNames, is_text);
  if (!text.empty()) return {{"text", prefix + text}};
  for (const auto& [column, value] : row.items()) {
    if (!value.is_object() || !prefix.empty()) continue;
    if (auto inside = suggest(value, column + "."); !inside.empty()) return inside;
  }
  std::vector<std::string> texts;
  for (const auto& [column, value] : row.items()) {
    if (value.is_string()) texts.push_back(column);
    if (value.is_structured() && !value.empty()) return {};  // the content is somewhere in there
  }
  if (texts.size() == 1) return {{"text", prefix + texts.front()}};
  return {};
}

}  // namespace

std::vector<MappedColumn> parse_column_mapping(const std::vector<std::string>& pairs) {
  std::vector<MappedColumn> mapping;
  for (const auto& pair : pairs) {
    const auto equals = pair.find('=');
    MappedColumn mapped{std::string(trim(pair.substr(0, equals))),
                        equals == std::string::npos ? "" : std::string(trim(pair.substr(equals + 1)))};
    if (mapped.column.empty() || mapped.source.empty()) {
      raise<ConfigError>(
          "column_mapping: '{}' is not a pair like prompt=question: a column of Lorica's formats, '=', a "
          "column of the data",
          pair);
    }
    if (mapped.column == "conversations") mapped.column = "messages";
    if (!is_column(mapped.column)) {
      const auto near = nearest_name(mapped.column, columns_of_formats());
      raise<ConfigError>("column_mapping: '{}': no format has a column '{}'{}; known are {}", pair, mapped.column,
                         is_column(mapped.source) ? fmt::format(" (did you mean {}={}?)", mapped.source, mapped.column)
                         : near.empty()           ? ""
                                                  : fmt::format(" (did you mean {}?)", near),
                         join(columns_of_formats(), ", "));
    }
    for (const auto& other : mapping) {
      if (other.column == mapped.column && other != mapped) {
        raise<ConfigError>("column_mapping: {} is mapped to both '{}' and '{}'", mapped.column, other.source,
                           mapped.source);
      }
    }
    mapping.push_back(std::move(mapped));
  }
  return mapping;
}

std::set<std::string> mapped_sources(const std::vector<MappedColumn>& mapping) {
  std::set<std::string> sources;
  for (const auto& mapped : mapping) {
    sources.insert(mapped.source);
    sources.insert(mapped.source.substr(0, mapped.source.find('.')));
  }
  return sources;
}

void apply_mapping(Json& row, const std::vector<MappedColumn>& mapping) {
  std::vector<std::pair<std::string, Json>> values;
  for (const auto& [column, source] : mapping) {
    auto value = value_at(row, source);
    if (value) {
      values.emplace_back(column, std::move(*value));
    } else if (!is_optional(column)) {
      bad_row("column_mapping {}={}: the row has no column '{}'; it has {}", column, source, source, columns_of(row));
    }
  }
  // All are read before any is renamed, so that two columns can change places.
  for (const auto& mapped : mapping) erase_at(row, mapped.source);
  for (auto& [column, value] : values) row[column] = std::move(value);
}

std::string suggest_mapping(const Json& row) {
  return pairs_text(suggest(row, ""));
}

}  // namespace lorica::data
