#include "config/documentation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "config/settings.hpp"
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

std::string help_entry(const Option& row, Command command) {
  auto text = fmt::format("  --{} {}", row.name, type_word(row));
  const auto names = row.names(command);
  std::vector<std::string> others(std::next(names.begin()), names.end());
  if (!others.empty()) text += fmt::format("  (also {})", join(others, ", "));
  text = fmt::format("{}\n", text) + wrap(row.help, 6);
  std::vector<std::string> facts;
  if (const auto status = status_text(row); !status.empty()) facts.push_back(status);
  if (const auto accepted = accepted_text(row); !accepted.empty()) facts.push_back(accepted);
  facts.push_back("default: " + all_defaults(row));
  return text + wrap("[" + join(facts, "] [") + "]", 6);
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

std::string markdown_row(const Option& row) {
  auto help = row.help;
  if (const auto status = status_text(row); !status.empty()) help = fmt::format("*{}.* {}", status, help);
  const auto accepted = accepted_text(row);
  return fmt::format("| `{}` | {} | {}{} | {} | {} | {} | {} |\n", row.name, code_list(other_names(row)),
                     type_word(row), accepted.empty() ? "" : ": " + accepted, escape_cell(all_defaults(row)),
                     commands_text(row), escape_cell(help), row.note.empty() ? "" : escape_cell(row.note));
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

std::string command_help(Command command) {
  auto text = fmt::format("lorica {}: {}\n\n", command_name(command), command_summary(command));
  text += wrap(
      "Options are --name value or --name=value. Hyphens equal underscores, a unique beginning of a name is enough, "
      "booleans may stand alone. --config FILE.toml reads options from a file; the command line counts over it.",
      0);
  std::string group;
  for (const auto& row : option_table()) {
    if (!row.belongs_to(command)) continue;
    if (row.group != group) text += fmt::format("\n{}\n", group = row.group);
    text += help_entry(row, command);
  }
  return text;
}

std::string explain_option(std::string_view name) {
  while (name.starts_with('-')) name.remove_prefix(1);
  for (const auto command : kCommands) {
    const auto* row = find_option(name, command);
    if (row == nullptr) continue;
    auto text = help_entry(*row, command);
    text += wrap(fmt::format("Group: {}. Commands: {}.", row->group, commands_text(*row)), 6);
    if (!row->note.empty()) text += wrap(fmt::format("Note: {}.", row->note), 6);
    return text;
  }
  std::vector<std::string> names;
  for (const auto command : kCommands) {
    for (auto& known : all_names(command)) names.push_back(std::move(known));
  }
  const auto near = nearest_name(name, names);
  raise<ConfigError>("'{}' is neither a command nor an option{}", name,
                     near.empty() ? "" : fmt::format(" (did you mean {}?)", near));
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
