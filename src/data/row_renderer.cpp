#include "data/row_renderer.hpp"

#include <fmt/format.h>

#include <map>

#include "base/error.hpp"
#include "base/strings.hpp"

namespace lorica::data {
namespace {

using Json = nlohmann::json;

template <class... Args>
[[noreturn]] void bad_row(fmt::format_string<Args...> format, Args&&... args) {
  throw BadRow(fmt::format(format, std::forward<Args>(args)...));
}

std::string columns_of(const Json& row) {
  std::vector<std::string> names;
  for (const auto& [name, value] : row.items()) names.push_back(name);
  return names.empty() ? "none" : join(names, ", ");
}

bool has(const Json& row, const char* column) {
  return row.contains(column);
}

std::string column_text(const Json& row, const std::string& column, bool may_be_missing) {
  const auto found = row.find(column);
  if (found == row.end() || found->is_null()) {
    if (may_be_missing) return {};
    if (found == row.end()) bad_row("the column '{}' is missing; the row has {}", column, columns_of(row));
    bad_row("the column '{}' is null", column);
  }
  if (!found->is_string()) bad_row("the column '{}' must be text, not {}", column, found->type_name());
  return found->get<std::string>();
}

std::vector<Segment> render_template(const Json& row, const char* template_name, std::string_view answer_field) {
  const auto& chosen = prompt_template(template_name);
  std::map<std::string, std::string> fields;
  for (const auto& field : required_fields(chosen)) fields[field] = column_text(row, field, false);
  const std::string optional(chosen.optional_field);
  if (!optional.empty()) fields[optional] = column_text(row, optional, true);
  const auto answer = column_text(row, std::string(answer_field), false);
  return {{.text = render_prompt(chosen, fields)}, {.text = answer, .supervised = true, .ends_turn = true}};
}

/// OpenAI's {role, content} and ShareGPT's {from, value}.
std::vector<Turn> turns_of(const Json& row) {
  static const std::map<std::string, std::string> share_gpt_roles = {
      {"human", "user"}, {"gpt", "assistant"}, {"function_response", "tool"}};
  const char* column = has(row, "messages") ? "messages" : "conversations";
  if (!has(row, column)) bad_row("the column 'messages' is missing; the row has {}", columns_of(row));
  const auto& list = row.at(column);
  if (!list.is_array() || list.empty()) bad_row("the column '{}' must be a list of turns, with at least one", column);
  std::vector<Turn> turns;
  for (const auto& turn : list) {
    if (!turn.is_object()) bad_row("turn {} of '{}' must be an object with role and content", turns.size() + 1, column);
    const bool share_gpt = has(turn, "from");
    auto role = column_text(turn, share_gpt ? "from" : "role", false);
    const auto alias = share_gpt_roles.find(role);
    if (share_gpt && alias != share_gpt_roles.end()) role = alias->second;
    turns.push_back({.role = std::move(role), .content = column_text(turn, share_gpt ? "value" : "content", false)});
  }
  return turns;
}

}  // namespace

Json parse_row(const RawRow& row) {
  if (const auto* document = std::get_if<RawRow::Document>(&row.content))
    return {{"text", std::string(document->text)}};
  if (const auto* value = std::get_if<Json>(&row.content)) return *value;
  Json parsed;
  try {
    parsed = Json::parse(std::get<RawRow::Json>(row.content).text);
  } catch (const Json::exception& error) {
    bad_row("malformed JSON: {}", error.what());
  }
  if (!parsed.is_object()) bad_row("a row must be an object with named columns, not {}", parsed.type_name());
  return parsed;
}

RowFormat detect_format(const Json& row) {
  if (has(row, "messages") || has(row, "conversations")) return RowFormat::messages;
  if (has(row, "prompt") && has(row, "completion")) return RowFormat::prompt_completion;
  if (has(row, "instruction") && has(row, "output")) return RowFormat::instruction;
  if (has(row, "question") && has(row, "answer")) {
    return has(row, "context") ? RowFormat::context_question : RowFormat::question_answer;
  }
  if (has(row, "text")) return RowFormat::text;
  bad_row(
      "can't tell what to train on from the columns {}; needed are text, or instruction (input) output, or prompt "
      "completion, or "
      "(context) question answer, or messages",
      columns_of(row));
}

std::vector<Segment> render_row(const Json& row, RowFormat format) {
  try {
    switch (format) {
      case RowFormat::text:
        return {{.text = column_text(row, "text", false), .supervised = true, .ends_turn = true}};
      case RowFormat::instruction:
        return render_template(row, "alpaca", "output");
      case RowFormat::prompt_completion:
        return render_template(row, "none", "completion");
      case RowFormat::question_answer:
        return render_template(row, "orca_math", "answer");
      case RowFormat::context_question:
        return render_template(row, "sql", "answer");
      case RowFormat::human_assistant:
        return human_assistant_segments(column_text(row, "text", false));
      case RowFormat::messages:
        return chat_segments(turns_of(row));
      case RowFormat::automatic:
        break;
    }
  } catch (const DataError& error) {
    throw BadRow(error.what());
  }
  raise<Error>("internal error: a row format that was not detected");
}

}  // namespace lorica::data
