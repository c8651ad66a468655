// Which keys of rows and of turns change what a row means, so that leaving them out would train on something else.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "data/options.hpp"

namespace lorica::data {

/// A column that a format reads, or that refuse_meaning() looks at: what must be decoded of a file.
bool is_known_column(const std::string& name);

/// Null, an empty text, list or object: a key that says nothing.
bool is_blank(const nlohmann::json& value);

/// Throws BadRow if `key`, which the row's format doesn't use, changes what the row means: it names the key, what it
/// says, and what to do.
void refuse_meaning(const std::string& key, const nlohmann::json& value, DatasetFormat format);
/// The same for a key of turn `number` (from 1) of a conversation.
void refuse_turn_meaning(const std::string& key, const nlohmann::json& value, std::size_t number);

/// Throws BadRow if the row's own column says that it is evaluation data ("split": "test").
void refuse_evaluation_row(const nlohmann::json& row, const std::vector<std::string>& ignored);

/// What a weight or a flag says about the loss of a part: nothing, on, off. Throws BadRow for a weight that is neither
/// 0 nor 1.
enum class LossFlag { none, on, off };
struct LossFlags {
  LossFlag flag = LossFlag::none;
  bool said_by_flag = false;  ///< by true or false, not by a number
  std::string key;
};
/// `weight`, `train` and the like of a turn; `where` is for messages ("turn 2: ").
LossFlags turn_loss(const nlohmann::json& turn, const std::string& where);
/// Whether `key` is one of those.
bool is_turn_loss(const std::string& key);
/// Whether `key` says whether a row carries loss; and throws BadRow if `value` says that it doesn't.
bool is_row_loss(const std::string& key);
void check_row_loss(const std::string& key, const nlohmann::json& value);

}  // namespace lorica::data
