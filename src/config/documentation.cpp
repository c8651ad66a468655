#include "config/documentation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "config/settings.hpp"
#include "config/table_words.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

constexpr Command kCommands[] = {Command::train,    Command::merge,  Command::generate, Command::forward,
                                 Command::tokenize, Command::report, Command::plan,     Command::options};
constexpr std::size_t kColumns = 100;

std::string default_text(const Option& row, Preset preset) {
  if (!row.field.stored()) return row.inert.empty() ? "none" : row.inert.front().empty() ? "none" : row.inert.front();
  if (row.name == "preset") return "by the keys used";
  return plain_text(row, row.read(preset_defaults(preset)));
}

/// "512; qlora-evolved: 2048".
std::string all_defaults(const Option& row) {
  const auto base = default_text(row, Preset::fsdp_qlora);
  auto text = base;
  for (const auto preset : {Preset::qlora_pipe_lite, Preset::qlora_evolved}) {
    if (const auto other = default_text(row, preset); other != base) {
      text += fmt::format("; {}: {}", preset_name(preset), other);
    }
  }
  return text;
}

std::string status_text(const Option& row) {
  switch (row.status) {
    case Status::built:
      return "";
    case Status::derived:
      return "";
    case Status::noted:
      return "accepted, without effect";
    case Status::not_built:
      return "not built yet";
    case Status::refused:
      return "refused";
  }
  raise<Error>("internal error: unknown status");
}

/// Lines of at most kColumns characters, each after `indent` spaces.
std::string wrap(std::string_view text, std::size_t indent) {
  std::string result, line;
  for (const auto& word : split(text, ' ')) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > kColumns) {
      result += std::string(indent, ' ') + line + "\n";
      line.clear();
    }
    line += line.empty() ? word : " " + word;
  }
  return result + std::string(indent, ' ') + line + "\n";
}

/// "  --lr float  (also learning_rate)".
std::string headline(const Option& row, Command command, bool all_names) {
  auto text = fmt::format("  --{} {}", row.name, type_word(row));
  const auto names = row.names(command);
  const std::vector<std::string> others(std::next(names.begin()), names.end());
  if (all_names && !others.empty()) text += fmt::format("  (also {})", join(others, ", "));
  return text + "\n";
}

/// "[from 0 to 1] [default: 0.1]".
std::string facts(const Option& row) {
  std::vector<std::string> facts;
  if (const auto status = status_text(row); !status.empty()) facts.push_back(status);
  if (const auto accepted = accepted_text(row); !accepted.empty()) facts.push_back(accepted);
  facts.push_back("default: " + all_defaults(row));
  return "[" + join(facts, "] [") + "]";
}

std::string help_entry(const Option& row, Command command) {
  return headline(row, command, true) + wrap(row.help, 6) + wrap(facts(row), 6);
}

/// Name, type, default and help in as few lines as they take.
std::string short_entry(const Option& row) {
  const auto line = wrap(
      fmt::format("--{} {} ({})  {}", row.name, type_word(row), default_text(row, Preset::fsdp_qlora), row.help), 6);
  return "  " + line.substr(6);
}

/// What nearly every run says, in the order in which one thinks of it.
constexpr std::string_view kMostUsed[] = {"model_name",
                                          "dataset",
                                          "output_dir",
                                          "train_type",
                                          "lora_rank",
                                          "lora_alpha",
                                          "lr",
                                          "num_epochs",
                                          "max_steps",
                                          "batch_size",
                                          "gradient_accumulation_steps",
                                          "context_length",
                                          "packing",
                                          "precision",
                                          "eval_fraction",
                                          "save_steps",
                                          "resume",
                                          "adapter",
                                          "overwrite_output_dir",
                                          "prompt",
                                          "max_new_tokens",
                                          "temperature",
                                          "input",
                                          "output",
                                          "run"};

bool is_most_used(const Option& row) {
  return std::find(std::begin(kMostUsed), std::end(kMostUsed), row.name) != std::end(kMostUsed);
}

/// Whether setting it does anything yet.
bool is_ready(const Option& row) {
  return row.status == Status::built || (row.status == Status::derived && row.group != kPeers);
}

/// Names of the command's options that `chosen` picks, as one paragraph; "" if there is none.
template <class Predicate>
std::string name_list(Command command, std::string_view title, Predicate chosen) {
  std::vector<std::string> names;
  for (const auto& row : option_table()) {
    if (row.belongs_to(command) && chosen(row)) names.push_back(row.name);
  }
  return names.empty() ? "" : fmt::format("\n{}\n{}", title, wrap(join(names, ", "), 2));
}

/// The default as a file writes it, or for options that have none a value of the type.
std::string toml_example(const Option& row) {
  const auto text = toml_text(row, row.read(preset_defaults(Preset::fsdp_qlora)));
  if (!text.empty()) return text;
  return row.field.type == Type::integer ? "100" : "0.1";
}

std::string escape_cell(std::string text) {
  text = replace_all(std::move(text), "|", "\\|");
  text = replace_all(std::move(text), "<", "&lt;");
  return text;
}

std::string code_list(const std::vector<std::string>& names) {
  std::vector<std::string> parts;
  for (const auto& name : names) parts.push_back("`" + name + "`");
  return join(parts, ", ");
}

std::string commands_text(const Option& row) {
  std::vector<std::string> names;
  for (const auto command : kCommands) {
    if (row.belongs_to(command)) names.emplace_back(command_name(command));
  }
  return join(names, ", ");
}

/// Aliases of all commands; those of one command only say so.
std::vector<std::string> other_names(const Option& row) {
  std::vector<std::string> all;
  for (const auto command : kCommands) {
    if (!row.belongs_to(command)) continue;
    for (const auto& name : row.names(command)) {
      if (name != row.name && std::find(all.begin(), all.end(), name) == all.end()) all.push_back(name);
    }
  }
  return all;
}

/// The note, and when the option acts.
std::string note_text(const Option& row) {
  std::vector<std::string> parts;
  if (!row.note.empty()) parts.push_back(row.note);
  for (const auto& condition : row.acts_when) parts.push_back("acts with " + condition.needs);
  return join(parts, "; ");
}

std::string markdown_row(const Option& row) {
  auto help = row.help;
  if (const auto status = status_text(row); !status.empty()) help = fmt::format("*{}.* {}", status, help);
  const auto accepted = accepted_text(row);
  return fmt::format("| `{}` | {} | {}{} | {} | {} | {} | {} |\n", row.name, code_list(other_names(row)),
                     type_word(row), accepted.empty() ? "" : ": " + accepted, escape_cell(all_defaults(row)),
                     commands_text(row), escape_cell(help), escape_cell(note_text(row)));
}

/// Everything about one option.
std::string explanation(const Option& row, Command command) {
  auto text = help_entry(row, command);
  if (row.field.stored()) {
    text += wrap(fmt::format("In a TOML file: {} = {}", row.name, toml_example(row)), 6);
  }
  for (const auto& condition : row.acts_when) text += wrap(fmt::format("Acts with: {}.", condition.needs), 6);
  text += wrap(fmt::format("Group: {}. Commands: {}.", row.group, commands_text(row)), 6);
  if (!row.note.empty()) text += wrap(fmt::format("Note: {}.", row.note), 6);
  return text;
}

}  // namespace

std::string_view command_summary(Command command) {
  switch (command) {
    case Command::train:
      return "fine-tune a model: lorica train [CONFIG.toml] [--option value]...";
    case Command::merge:
      return "merge an adapter into its base model";
    case Command::generate:
      return "let a model, with or without an adapter, go on from prompts";
    case Command::forward:
      return "write the logits of given token ids";
    case Command::tokenize:
      return "show how text or a data set becomes tokens and labels";
    case Command::report:
      return "plot and summarize a run: lorica report FOLDER";
    case Command::options:
      return "list all options";
    case Command::plan:
      return "foretell memory, traffic and time of a run, before anything is loaded";
  }
  raise<Error>("internal error: unknown command");
}

std::string command_help(Command command, bool full) {
  auto text = fmt::format("lorica {}: {}\n\n", command_name(command), command_summary(command));
  text += wrap(
      "Options are --name value or --name=value. Hyphens equal underscores, a unique beginning of a name is enough, "
      "booleans may stand alone. --config FILE.toml reads options from a file; the command line counts over it.",
      0);
  text += wrap(fmt::format("`lorica {0} --help NAME` explains one option in full, `lorica {0} --help all` every one.",
                           command_name(command)),
               0);
  if (!full) {
    text += "\nMost used\n";
    for (const auto name : kMostUsed) {
      const auto& row = option(name);
      if (row.belongs_to(command)) text += help_entry(row, command);
    }
  }
  std::string group;
  for (const auto& row : option_table()) {
    if (!row.belongs_to(command) || (!full && (is_most_used(row) || !is_ready(row)))) continue;
    if (row.group != group) text += fmt::format("\n{}\n", group = row.group);
    text += full ? help_entry(row, command) : short_entry(row);
  }
  if (full) return text;
  text += name_list(command, "Options of other programs that are translated, or accepted without effect",
                    [](const Option& row) {
                      return row.status == Status::noted || (row.status == Status::derived && row.group == kPeers);
                    });
  text += name_list(command, "Refused, each with what to use instead",
                    [](const Option& row) { return row.status == Status::refused; });
  text += name_list(command, "Not built yet", [](const Option& row) { return row.status == Status::not_built; });
  return text;
}

std::string explain_option(std::string_view name, Command command) {
  while (name.starts_with('-')) name.remove_prefix(1);
  std::vector<Command> order = {command};
  for (const auto other : kCommands) {
    if (other != command) order.push_back(other);
  }
  std::vector<std::string> names;
  for (const auto other : order) {
    if (const auto* row = find_option(name, other)) return explanation(*row, other);
    for (auto& known : all_names(other)) names.push_back(std::move(known));
  }
  const auto near = nearest_name(replace_all(std::string(name), "-", "_"), names);
  if (near.empty()) raise<ConfigError>("'{}' is no option; `lorica options` lists all", name);
  return fmt::format("There is no option {}; the nearest is {}:\n\n", name, near) + explain_option(near, command);
}

std::string options_markdown() {
  std::string text =
      "# Options\n\n"
      "Made by `lorica options --markdown` from the option table (`src/config/table_*.cpp`); a test checks that it is "
      "current.\n\n"
      "- On the command line: `--name value` or `--name=value`. Hyphens equal underscores, unique prefixes are "
      "accepted, "
      "booleans may stand alone (`--packing`), lists are repeated or, where that is unambiguous, separated by commas.\n"
      "- In a TOML file: `name = value`, under any of the names; `[[datasets]]` tables with `dataset_path` instead of "
      "`dataset`.\n"
      "- The command line counts over the file, the file over the preset. `preset` chooses whose defaults count: "
      "`fsdp_qlora`, `qlora-pipe-lite` or `qlora-evolved`; a column below that shows one default only has it in all "
      "three.\n"
      "- An option that is *not built yet* is refused when it is set to anything but its default, never ignored.\n"
      "- An option that can't act in a run (\"acts with\" in its row says when it can) is left aside: the run prints "
      "it "
      "with the reason and keeps that in account.json, or refuses it where something else was surely meant.\n"
      "- `save_model` is true in every preset (fsdp_qlora's was false): a run keeps its result unless told "
      "otherwise.\n";
  std::string group;
  for (const auto& row : option_table()) {
    if (row.group != group) {
      group = row.group;
      text += fmt::format(
          "\n## {}\n\n| option | other names | type | default | commands | meaning | note "
          "|\n|---|---|---|---|---|---|---|\n",
          group);
    }
    text += markdown_row(row);
  }
  return text;
}

}  // namespace lorica::config
