// The prompt templates: one table that training, `generate --template` and the documentation read.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lorica::data {

/// How a row becomes a prompt and an answer. `{name}` in a text stands for that column. The answer follows the prompt
/// with nothing between, then EOS. Wordings are fsdp_qlora's data sets' (alpaca's come from Stanford Alpaca).
struct PromptTemplate {
  std::string_view name;            ///< "alpaca"
  std::string_view prompt;          ///< with {columns}
  std::string_view optional_field;  ///< a column that may be empty or missing, or ""
  std::string_view prompt_without;  ///< the prompt of rows where optional_field is empty
  std::string_view question_field;  ///< the column that a user's question goes into
  std::string_view answer_field;    ///< the column that is trained on
  std::string_view help;            ///< one line
};

/// alpaca, sql, orca_math, guanaco, chat, none.
std::span<const PromptTemplate> prompt_templates();
/// Throws ConfigError with the nearest name.
const PromptTemplate& prompt_template(std::string_view name);

/// Columns of `prompt` and, if the template has one, `prompt_without`: what a row must have (the optional one left
/// out).
std::vector<std::string> required_fields(const PromptTemplate& prompt_template);

/// The prompt for `fields`. Throws DataError naming a missing one.
std::string render_prompt(const PromptTemplate& prompt_template, const std::map<std::string, std::string>& fields);
/// The prompt for a plain question: `generate --template alpaca --prompt "…"`. sql's context is left empty.
std::string render_question(std::string_view template_name, std::string_view question);

/// A piece of an example's text.
struct Segment {
  std::string text;
  bool supervised = false;  ///< carries loss under TrainOn::completion
  bool ends_turn = false;   ///< followed by EOS, which carries loss if the text does
  bool masked = false;      ///< carries no loss, whatever is trained on; nor does its EOS
};

/// Splits guanaco's text at the first "### Assistant: ": everything before it is the prompt.
std::vector<Segment> human_assistant_segments(std::string_view text);

/// An instruction with what LLaMA-Factory's rows may add to it.
struct Instruction {
  std::string instruction, input, output;
  std::string system;                                        ///< replaces the template's opening sentences
  std::vector<std::pair<std::string, std::string>> history;  ///< earlier instructions and answers, which carry loss
};
/// The alpaca template: opening sentences, "### Instruction:\n…\n\n### Response:…" and EOS for each earlier turn, and
/// a blank line between turns.
std::vector<Segment> instruction_segments(const Instruction& instruction);

/// A turn of a conversation; roles: system, user, assistant, tool.
struct Turn {
  enum class Loss {
    by_role,    ///< an assistant's turn carries loss
    as_prompt,  ///< none, whoever speaks, unless all is trained on
    always,
    never,
  };
  std::string role;
  std::string content;
  Loss loss = Loss::by_role;
};
/// The plain chat template: "### System:\n…\n\n", "### User:\n…\n\n", "### Tool:\n…\n\n", "### Assistant:\n…" and EOS.
/// Assistant texts and their EOS carry loss, headers do not; Turn::loss may say otherwise of a turn.
std::vector<Segment> chat_segments(const std::vector<Turn>& turns);
/// The same as one text, ready for the next answer; `terminator` is EOS's text.
std::string render_chat(const std::vector<Turn>& turns, std::string_view terminator);

}  // namespace lorica::data
