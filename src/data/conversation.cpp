#include "data/conversation.hpp"

#include <map>
#include <set>

#include "base/strings.hpp"
#include "data/row_keys.hpp"
#include "data/row_parser.hpp"

namespace lorica::data {
namespace {

using Json = nlohmann::json;

/// Other programs' names of the roles.
std::string plain_role(const std::string& role, std::size_t number) {
  static const std::map<std::string, std::string> names = {
      {"human", "user"},       {"gpt", "assistant"},    {"chatgpt", "assistant"},      {"bot", "assistant"},
      {"model", "assistant"},  {"developer", "system"}, {"function_response", "tool"}, {"function", "tool"},
      {"observation", "tool"}, {"ipython", "tool"},     {"tool_response", "tool"}};
  const auto lower = to_lower(role);
  if (lower == "function_call" || lower == "tool_call") {
    bad_row("turn {} is a call of a tool ('{}'), which no template here can show. Leave such rows out", number, role);
  }
  const auto found = names.find(lower);
  const auto& plain = found == names.end() ? lower : found->second;
  static const std::set<std::string> known = {"system", "user", "assistant", "tool"};
  if (!known.contains(plain)) {
    bad_row(
        "turn {} has the unknown role '{}'; known are system, user, assistant, tool, and human, gpt and other names "
        "of these",
        number, role);
  }
  return plain;
}

/// A text, or parts of {"type": "text", "text": …}.
std::string content_text(const Json& content, std::size_t number, const std::string& key) {
  if (content.is_string()) return content.get<std::string>();
  if (content.is_null()) bad_row("turn {}: '{}' is null", number, key);
  if (!content.is_array()) bad_row("turn {}: '{}' must be text, not {}", number, key, kind_of(content));
  std::string text;
  for (const auto& part : content) {
    if (part.is_string()) {
      text += part.get<std::string>();
      continue;
    }
    const auto type = part.is_object() && part.contains("type") && part.at("type").is_string()
                          ? part.at("type").get<std::string>()
                          : std::string("text");
    if (type != "text" || !part.is_object() || !part.contains("text") || !part.at("text").is_string()) {
      bad_row("turn {}: '{}' has a part of type '{}', and only text can be trained on", number, key,
              part.is_object() ? type : kind_of(part));
    }
    text += part.at("text").get<std::string>();
  }
  return text;
}

Turn read_turn(const Json& turn, std::size_t number, const std::string& column, RowReader& row) {
  if (!turn.is_object()) {
    bad_row("turn {} of '{}' must be an object with role and content, not {}", number, column, kind_of(turn));
  }
  const auto first_of = [&](std::initializer_list<const char*> keys) {
    for (const auto* key : keys) {
      if (turn.contains(key)) return std::string(key);
    }
    bad_row("turn {} of '{}' has no '{}'; it has {}", number, column, *keys.begin(), RowReader(turn, {}).columns());
  };
  for (const auto& [key, value] : turn.items()) {
    if (!row.ignores(key)) refuse_turn_meaning(key, value, number);
  }
  const auto role = first_of({"role", "from"});
  const auto content = first_of({"content", "value", "text"});
  if (!turn.at(role).is_string()) bad_row("turn {}: '{}' must be text, not {}", number, role, kind_of(turn.at(role)));
  Turn result{.role = plain_role(turn.at(role).get<std::string>(), number),
              .content = content_text(turn.at(content), number, content)};
  const auto loss = turn_loss(turn, fmt::format("turn {}: ", number));
  if (loss.flag == LossFlag::off) result.loss = Turn::Loss::never;
  // A weight of 1 on all turns is the default written out; "train": true on a user's turn is meant.
  if (loss.flag == LossFlag::on && (loss.said_by_flag || result.role == "assistant")) result.loss = Turn::Loss::always;
  for (const auto& [key, value] : turn.items()) {
    const bool read = key == role || key == content || is_turn_loss(key);
    if (!read && !is_blank(value)) row.leave(column + "[]." + key);
  }
  return result;
}

void read_turns(RowReader& row, const std::string& column, std::vector<Turn>& turns) {
  const Json* list = &row.value(column);
  Json parsed;
  if (list->is_string()) {  // as Parquet files of some exporters have it
    parsed = Json::parse(list->get_ref<const std::string&>(), nullptr, false);
    if (!parsed.is_array())
      bad_row("the column '{}' must be a list of turns, or JSON of one, not a plain text", column);
    list = &parsed;
  }
  if (!list->is_array() || list->empty()) {
    bad_row("the column '{}' must be a list of turns, with at least one, not {}", column,
            list->is_array() ? "an empty one" : kind_of(*list));
  }
  for (std::size_t i = 0; i < list->size(); ++i) turns.push_back(read_turn((*list)[i], i + 1, column, row));
}

/// A system prompt in a column of its own, as ShareGPT's and LLaMA-Factory's rows have it.
void read_system(RowReader& row, std::vector<Turn>& turns) {
  for (const auto* column : {"system", "system_prompt", "system_message"}) {
    const auto text = row.optional_text(column);
    if (text.empty()) continue;
    if (turns.front().role == "system") {
      if (turns.front().content == text) continue;
      bad_row("the column '{}' and the first turn are two different system prompts", column);
    }
    turns.insert(turns.begin(), {.role = "system", .content = text});
  }
}

}  // namespace

bool is_turn_pair(const Json& row) {
  return row.contains("prompt") && row.contains("completion") && row.at("prompt").is_array() &&
         row.at("completion").is_array();
}

std::vector<Turn> read_conversation(RowReader& row) {
  std::vector<Turn> turns;
  if (is_turn_pair(row.row())) {
    read_turns(row, "prompt", turns);
    for (auto& turn : turns) {
      if (turn.loss == Turn::Loss::by_role) turn.loss = Turn::Loss::as_prompt;
    }
    read_turns(row, "completion", turns);
  } else {
    read_turns(row, row.has("messages") || !row.has("conversations") ? "messages" : "conversations", turns);
  }
  read_system(row, turns);
  return turns;
}

}  // namespace lorica::data
