#include "data/row_keys.hpp"

#include <algorithm>
#include <array>

#include "base/strings.hpp"
#include "data/row_parser.hpp"
#include "data/split_names.hpp"

namespace lorica::data {
namespace {

using Json = nlohmann::json;

/// Kinds of data or of content that no format here carries, and the keys that say so.
struct Meaning {
  std::string_view what;
  std::set<std::string, std::less<>> keys;
  std::string_view remedy;
};

constexpr std::string_view kLeaveOut = "Leave it out of the rows, or name it in ignore_columns to train without it";

const std::array<Meaning, 7>& row_meanings() {
  static const std::array<Meaning, 7> meanings{{
      {"is part of preference data (DPO and the like: a good and a bad answer)",
       {"chosen", "rejected", "preferred_output", "non_preferred_output"},
       "Lorica trains on one answer. To train on the good one, map it: column_mapping \"completion=chosen\" with "
       "ignore_columns rejected"},
      {"says whether the answer is good, as in unpaired preference data (KTO)",
       {"kto_tag", "desirable", "is_desirable"},
       "Lorica would train on bad answers as if they were good. Keep the good rows alone and leave the column out"},
      {"is stepwise supervision (a list of steps with a label each)",
       {"completions"},
       "Lorica trains on one answer: join the steps to a completion"},
      {"holds tools or their calls, which no template here can show",
       {"tools", "functions", "available_tools", "tool_calls", "function_call", "function_calls"},
       kLeaveOut},
      {"holds images, video or sound, which Lorica doesn't train on",
       {"images", "image", "image_url", "videos", "video", "audios", "audio", "media"},
       kLeaveOut},
      {"holds reasoning that no template here can show",
       {"reasoning_content", "thinking"},
       "Put it into the answer, or name it in ignore_columns to train without it"},
      {"changes what a chat template writes", {"documents", "chat_template_kwargs"}, kLeaveOut},
  }};
  return meanings;
}

constexpr std::array<std::string_view, 4> kSystemKeys{"system", "system_prompt", "system_message", "history"};
constexpr std::array<std::string_view, 10> kTurnLoss{"weight",   "loss_weight", "loss_scale",   "loss", "train",
                                                     "training", "trainable",   "train_detail", "mask", "masked"};
constexpr std::array<std::string_view, 4> kRowLoss{"weight", "loss_weight", "sample_weight", "train"};
constexpr std::array<std::string_view, 2> kSplitKeys{"split", "data_split"};

template <class Keys>
bool holds(const Keys& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

/// "response_rejected", "chosen_messages", …
bool is_preference(const std::string& key) {
  const auto words = split(to_lower(key), '_');
  return holds(words, "chosen") || holds(words, "rejected");
}

/// A KTO label: true or false, or 0 or 1 beside an answer. Classes beside a text are no such thing.
bool is_verdict(const std::string& key, const Json& value, DatasetFormat format) {
  if (key != "label") return false;
  return value.is_boolean() || (value.is_number() && format != DatasetFormat::text);
}

LossFlag flag_of(const std::string& key, const Json& value, const std::string& where) {
  if (value.is_boolean()) return value.get<bool>() ? LossFlag::on : LossFlag::off;
  if (value.is_number() && (value == 0 || value == 1)) return value == 1 ? LossFlag::on : LossFlag::off;
  bad_row("{}'{}' is {}; known are 0 or false (carries no loss) and 1 or true", where, key,
          value.is_number() ? value.dump() : kind_of(value));
}

}  // namespace

bool is_blank(const Json& value) {
  return value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty()) ||
         (value.is_structured() && value.empty());
}

bool is_known_column(const std::string& name) {
  static const auto columns = [] {
    std::set<std::string> all = {"text",     "instruction", "input",   "output",   "prompt",        "completion",
                                 "question", "answer",      "context", "messages", "conversations", "label"};
    for (const auto& meaning : row_meanings()) all.insert(meaning.keys.begin(), meaning.keys.end());
    all.insert(kSystemKeys.begin(), kSystemKeys.end());
    all.insert(kRowLoss.begin(), kRowLoss.end());
    all.insert(kSplitKeys.begin(), kSplitKeys.end());
    return all;
  }();
  return columns.contains(name) || is_preference(name);
}

void refuse_meaning(const std::string& key, const Json& value, DatasetFormat format) {
  if (is_blank(value)) return;
  for (const auto& meaning : row_meanings()) {
    if (meaning.keys.contains(key) || (&meaning == &row_meanings().front() && is_preference(key))) {
      bad_row("the column '{}' {}. {}", key, meaning.what, meaning.remedy);
    }
  }
  if (is_verdict(key, value, format)) {
    const auto& kto = row_meanings()[1];
    bad_row("the column '{}' {}. {}", key, kto.what, kto.remedy);
  }
  if (holds(kSystemKeys, key)) {
    bad_row(
        "the column '{}' holds what comes before the prompt, and the format {} has no place for it. Rows of "
        "instruction and output (system, history) and of messages (system) have; or put it into the prompt, or name "
        "it in ignore_columns to train without it",
        key, config::name_of(format));
  }
}

void refuse_turn_meaning(const std::string& key, const Json& value, std::size_t number) {
  if (is_blank(value)) return;
  for (const auto& meaning : row_meanings()) {
    if (meaning.keys.contains(key))
      bad_row("turn {} has '{}', which {}. {}", number, key, meaning.what, meaning.remedy);
  }
  if (key == "reasoning" || key == "thoughts") {
    bad_row("turn {} has '{}', which {}. {}", number, key, row_meanings()[5].what, row_meanings()[5].remedy);
  }
}

void refuse_evaluation_row(const Json& row, const std::vector<std::string>& ignored) {
  for (const auto key : kSplitKeys) {
    const auto found = row.find(key);
    if (found == row.end() || !found->is_string() || holds(ignored, key)) continue;
    const auto& value = found->get_ref<const std::string&>();
    if (!is_evaluation(split_of_word(value))) continue;
    bad_row(
        "the column '{}' says that this is evaluation data ('{}'), which are never trained on unless asked for: keep "
        "them in a file of their own, or name the column in ignore_columns",
        key, value);
  }
}

bool is_turn_loss(const std::string& key) {
  return holds(kTurnLoss, key);
}

LossFlags turn_loss(const Json& turn, const std::string& where) {
  LossFlags result;
  for (const auto& [key, value] : turn.items()) {
    if (!is_turn_loss(key) || is_blank(value)) continue;
    if (key == "train_detail") bad_row("{}'{}' marks parts of a turn, which isn't built: split the turn", where, key);
    auto flag = flag_of(key, value, where);
    if (key == "mask" || key == "masked") flag = flag == LossFlag::on ? LossFlag::off : LossFlag::on;
    if (result.flag != LossFlag::none && result.flag != flag) {
      bad_row("{}'{}' and '{}' contradict each other", where, result.key, key);
    }
    result = {flag, value.is_boolean(), key};
  }
  return result;
}

bool is_row_loss(const std::string& key) {
  return holds(kRowLoss, key);
}

void check_row_loss(const std::string& key, const Json& value) {
  if (is_blank(value) || flag_of(key, value, "the column ") == LossFlag::on) return;
  bad_row(
      "the column '{}' is {}: the row is not to be trained on. Leave such rows out, or name the column in "
      "ignore_columns",
      key, value.dump());
}

}  // namespace lorica::data
