// The table of prompt templates, and filling them in.
#include "data/templates.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.hpp"
#include "base/strings.hpp"

namespace lorica::data {
namespace {

constexpr std::array<PromptTemplate, 6> kTemplates = {{
    {.name = "alpaca",
     .prompt = "Below is an instruction that describes a task, paired with an input that provides further context. "
               "Write a response that appropriately completes the request.\n\n"
               "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:",
     .optional_field = "input",
     .prompt_without = "Below is an instruction that describes a task. "
                       "Write a response that appropriately completes the request.\n\n"
                       "### Instruction:\n{instruction}\n\n### Response:",
     .question_field = "instruction",
     .answer_field = "output",
     .help = "Stanford Alpaca's: an instruction with an optional input"},
    {.name = "sql",
     .prompt = "###Context:\n{context}\n###Question:\n{question}\n###Answer:\n",
     .optional_field = "",
     .prompt_without = "",
     .question_field = "question",
     .answer_field = "answer",
     .help = "a question about a table definition"},
    {.name = "orca_math",
     .prompt = "###Question:\n{question}\n###Answer:\n",
     .optional_field = "",
     .prompt_without = "",
     .question_field = "question",
     .answer_field = "answer",
     .help = "a question and its answer"},
    {.name = "guanaco",
     .prompt = "### Human: {prompt}",
     .optional_field = "",
     .prompt_without = "",
     .question_field = "prompt",
     .answer_field = "completion",
     .help = "Open Assistant conversations; the model writes the \"### Assistant: \" marker itself"},
    {.name = "chat",
     .prompt = "### User:\n{prompt}\n\n### Assistant:\n",
     .optional_field = "",
     .prompt_without = "",
     .question_field = "prompt",
     .answer_field = "completion",
     .help = "one turn of the plain chat template that `messages` rows are rendered with"},
    {.name = "none",
     .prompt = "{prompt}",
     .optional_field = "",
     .prompt_without = "",
     .question_field = "prompt",
     .answer_field = "completion",
     .help = "the prompt as it is"},
}};

/// Calls text(literal) and field(name) for the parts of a template, in order.
template <class OnText, class OnField>
void walk(std::string_view pattern, const OnText& text, const OnField& field) {
  while (!pattern.empty()) {
    const auto open = pattern.find('{');
    if (open == std::string_view::npos) {
      text(pattern);
      return;
    }
    const auto close = pattern.find('}', open);
    ensure(close != std::string_view::npos, "a template's brace is not closed: {}", pattern);
    if (open > 0) text(pattern.substr(0, open));
    field(pattern.substr(open + 1, close - open - 1));
    pattern.remove_prefix(close + 1);
  }
}

std::string_view chat_header(std::string_view role) {
  if (role == "system") return "### System:\n";
  if (role == "user") return "### User:\n";
  if (role == "assistant") return "### Assistant:\n";
  if (role == "tool") return "### Tool:\n";
  raise<DataError>("unknown role '{}'; known are system, user, assistant, tool", role);
}

}  // namespace

std::span<const PromptTemplate> prompt_templates() {
  return kTemplates;
}

const PromptTemplate& prompt_template(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& candidate : kTemplates) {
    if (candidate.name == name) return candidate;
    names.emplace_back(candidate.name);
  }
  const auto near = nearest_name(name, names);
  raise<ConfigError>("unknown template '{}'{}; known are {}", name,
                     near.empty() ? "" : fmt::format(" (did you mean {}?)", near), join(names, ", "));
}

std::vector<std::string> required_fields(const PromptTemplate& prompt_template) {
  std::vector<std::string> fields;
  walk(
      prompt_template.prompt, [](std::string_view) {},
      [&](std::string_view field) {
        if (field != prompt_template.optional_field) fields.emplace_back(field);
      });
  return fields;
}

std::string render_prompt(const PromptTemplate& prompt_template, const std::map<std::string, std::string>& fields) {
  const auto optional = fields.find(std::string(prompt_template.optional_field));
  const bool without =
      !prompt_template.optional_field.empty() && (optional == fields.end() || optional->second.empty());
  std::string prompt;
  walk(
      without ? prompt_template.prompt_without : prompt_template.prompt, [&](std::string_view text) { prompt += text; },
      [&](std::string_view field) {
        const auto found = fields.find(std::string(field));
        if (found == fields.end())
          raise<DataError>("the template {} needs the column '{}'", prompt_template.name, field);
        prompt += found->second;
      });
  return prompt;
}

std::string render_question(std::string_view template_name, std::string_view question) {
  const auto& chosen = prompt_template(template_name);
  std::map<std::string, std::string> fields;
  for (const auto& field : required_fields(chosen)) fields[field] = "";
  fields[std::string(chosen.question_field)] = question;
  return render_prompt(chosen, fields);
}

std::vector<Segment> human_assistant_segments(std::string_view text) {
  const auto marker = text.find("### Assistant: ");
  // Without an answer there is nothing to learn from; ends_turn would make EOS the answer.
  if (marker == std::string_view::npos) return {{.text = std::string(text)}};
  std::vector<Segment> segments;
  if (marker > 0) segments.push_back({.text = std::string(text.substr(0, marker))});
  segments.push_back({.text = std::string(text.substr(marker)), .supervised = true, .ends_turn = true});
  return segments;
}

std::vector<Segment> instruction_segments(const Instruction& row) {
  const auto& alpaca = prompt_template("alpaca");
  const auto prompt_of = [&](const std::string& instruction, const std::string& input) {
    return render_prompt(alpaca, {{"instruction", instruction}, {"input", input}});
  };
  const auto final_prompt = prompt_of(row.instruction, row.input);
  constexpr std::string_view kTurn = "### Instruction:\n";
  const auto turn_of = [&](const std::string& prompt) { return prompt.substr(prompt.find(kTurn)); };
  std::string opening = row.system.empty() ? final_prompt.substr(0, final_prompt.find(kTurn)) : row.system + "\n\n";
  std::vector<Segment> segments;
  for (const auto& [question, answer] : row.history) {
    segments.push_back({.text = opening + turn_of(prompt_of(question, ""))});
    segments.push_back({.text = answer, .supervised = true, .ends_turn = true});
    opening = "\n\n";
  }
  segments.push_back({.text = opening + turn_of(final_prompt)});
  segments.push_back({.text = row.output, .supervised = true, .ends_turn = true});
  return segments;
}

std::vector<Segment> chat_segments(const std::vector<Turn>& turns) {
  std::vector<Segment> segments;
  std::string plain;  // everything since the last answer, tokenized as one text
  const auto end_plain = [&] {
    if (!plain.empty()) segments.push_back({.text = std::exchange(plain, "")});
  };
  for (const auto& turn : turns) {
    using Loss = Turn::Loss;
    const bool answer = turn.role == "assistant";
    plain += chat_header(turn.role);
    if (answer || turn.loss == Loss::always || turn.loss == Loss::never) {
      end_plain();
      segments.push_back({.text = turn.content,
                          .supervised = turn.loss == Loss::always || (answer && turn.loss == Loss::by_role),
                          .ends_turn = answer,
                          .masked = turn.loss == Loss::never});
    } else {
      plain += turn.content;
    }
    if (!answer) plain += "\n\n";
  }
  end_plain();
  return segments;
}

std::string render_chat(const std::vector<Turn>& turns, std::string_view terminator) {
  std::string text;
  for (const auto& segment : chat_segments(turns)) {
    text += segment.text;
    if (segment.ends_turn) text += terminator;
  }
  return text + std::string(chat_header("assistant"));
}

}  // namespace lorica::data
