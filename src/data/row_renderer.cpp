#include "data/row_renderer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "data/column_mapping.hpp"
#include "data/conversation.hpp"
#include "data/row_keys.hpp"
#include "data/row_parser.hpp"
#include "data/row_reader.hpp"

namespace lorica::data {
namespace {

using Json = nlohmann::json;

std::vector<Segment> render_template(RowReader& row, const char* template_name, const char* answer_column) {
  const auto& chosen = prompt_template(template_name);
  std::map<std::string, std::string> fields;
  for (const auto& field : required_fields(chosen)) fields[field] = row.text(field);
  return {{.text = render_prompt(chosen, fields)},
          {.text = row.text(answer_column), .supervised = true, .ends_turn = true}};
}

/// [["question", "answer"], …], as LLaMA-Factory's alpaca rows have it.
std::vector<std::pair<std::string, std::string>> read_history(RowReader& row) {
  std::vector<std::pair<std::string, std::string>> history;
  if (!row.has("history")) return history;
  const auto& list = row.value("history");
  const auto is_turn = [](const Json& turn) {
    return turn.is_array() && turn.size() == 2 && turn[0].is_string() && turn[1].is_string();
  };
  if (!list.is_array()) bad_row("the column 'history' must be a list of [instruction, answer], not {}", kind_of(list));
  for (const auto& turn : list) {
    if (!is_turn(turn)) bad_row("turn {} of 'history' must be [instruction, answer], two texts", history.size() + 1);
    history.emplace_back(turn[0].get<std::string>(), turn[1].get<std::string>());
  }
  return history;
}

std::vector<Segment> render_instruction(RowReader& row) {
  Instruction parts{.instruction = row.text("instruction"),
                    .input = row.optional_text("input"),
                    .output = row.text("output"),
                    .system = {},
                    .history = read_history(row)};
  for (const auto* column : {"system", "system_prompt", "system_message"}) {
    const auto text = row.optional_text(column);
    if (!text.empty() && !parts.system.empty() && parts.system != text) {
      bad_row("the column '{}' is a second system prompt", column);
    }
    if (!text.empty()) parts.system = text;
  }
  return instruction_segments(parts);
}

std::vector<Segment> segments_of(RowReader& row, DatasetFormat format) {
  switch (format) {
    case DatasetFormat::text:
      return {{.text = row.text("text"), .supervised = true, .ends_turn = true}};
    case DatasetFormat::instruction:
      return render_instruction(row);
    case DatasetFormat::prompt_completion:
      if (is_turn_pair(row.row())) {
        bad_row("'prompt' and 'completion' are conversations, not texts: set dataset_format to messages");
      }
      return render_template(row, "none", "completion");
    case DatasetFormat::question_answer:
      return render_template(row, "orca_math", "answer");
    case DatasetFormat::context_question:
      return render_template(row, "sql", "answer");
    case DatasetFormat::human_assistant:
      return human_assistant_segments(row.text("text"));
    case DatasetFormat::messages:
      return chat_segments(read_conversation(row));
    case DatasetFormat::automatic:
      break;
  }
  raise<Error>("internal error: a row format that was not detected");
}

template <class Has>
std::optional<DatasetFormat> format_of(const Has& has, const Json& row) {
  if (has("messages") || has("conversations")) return DatasetFormat::messages;
  if (has("prompt") && has("completion")) {
    return is_turn_pair(row) ? DatasetFormat::messages : DatasetFormat::prompt_completion;
  }
  if (has("instruction") && has("output")) return DatasetFormat::instruction;
  if (has("question") && has("answer")) {
    return has("context") ? DatasetFormat::context_question : DatasetFormat::question_answer;
  }
  if (has("text")) return DatasetFormat::text;
  return std::nullopt;
}

[[noreturn]] void raise_unknown_columns(const Json& row, const RowReader& reader) {
  // What kind of data it is says more than the names that are missing.
  for (const auto& [key, value] : row.items()) {
    if (!reader.ignores(key)) refuse_meaning(key, value, DatasetFormat::automatic);
  }
  if (row.contains("input_ids"))
    bad_row("the rows are tokenized already (input_ids), and Lorica tokenizes text itself");
  const auto mapping = suggest_mapping(row);
  bad_row(
      "can't tell what to train on from the columns {}; needed are text, or prompt and completion, or instruction, "
      "(input) and output, or (context,) question and answer, or messages. Say which column is which: "
      "column_mapping \"{}\"{}",
      reader.columns(), mapping.empty() ? "prompt=…,completion=…" : mapping, mapping.empty() ? " or \"text=…\"" : "");
}

}  // namespace

DatasetFormat detect_format(const Json& row, const std::vector<MappedColumn>& mapping,
                            const std::vector<std::string>& ignored) {
  const RowReader reader(row, ignored);
  const auto has = [&](const char* column) { return row.contains(column) && !reader.ignores(column); };
  const auto is_mapped = [&](const char* column) {
    return has(column) &&
           std::any_of(mapping.begin(), mapping.end(), [&](const auto& mapped) { return mapped.column == column; });
  };
  if (const auto format = format_of(is_mapped, row)) return *format;
  if (const auto format = format_of(has, row)) return *format;
  raise_unknown_columns(row, reader);
}

RenderedRow render_row(const Json& row, DatasetFormat format, const DataOptions& options) {
  RowReader reader(row, options.ignore_columns);
  if (!options.for_evaluation) refuse_evaluation_row(row, options.ignore_columns);
  try {
    RenderedRow rendered;
    rendered.segments = segments_of(reader, format);
    rendered.unused = reader.unread(format);
    return rendered;
  } catch (const DataError& error) {
    throw BadRow(error.what());
  }
}

}  // namespace lorica::data
