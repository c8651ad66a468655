// From the columns of a conversation to its turns.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/row_reader.hpp"
#include "data/templates.hpp"

namespace lorica::data {

/// Whether a row is TRL's conversational prompt and completion: two lists of turns.
bool is_turn_pair(const nlohmann::json& row);

/// The turns of a row: `messages` or `conversations` (a list, or JSON of one as text) of OpenAI's {role, content} or
/// ShareGPT's {from, value}; or `prompt` and `completion`, of which the latter alone carries loss. A `system` column is
/// the first turn. Content may be a list of text parts. Throws BadRow naming the turn.
std::vector<Turn> read_conversation(RowReader& row);

}  // namespace lorica::data
