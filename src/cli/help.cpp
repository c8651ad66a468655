#include "cli/help.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "cli/commands.hpp"
#include "config/documentation.hpp"

namespace lorica::cli {
namespace {

using config::Command;

constexpr Command kCommands[] = {Command::train,    Command::generate, Command::merge, Command::report,
                                 Command::tokenize, Command::forward,  Command::plan,  Command::options};

/// Commands to come, and what serves meanwhile.
constexpr std::pair<const char*, const char*> kLater[] = {
    {"quantize", "train, generate and forward quantize while loading"},
    {"chat", "generate answers prompts"},
    {"expand", ""},
    {"convert", ""},
    {"export", "merge writes a model that other programs load"},
    {"doctor", ""},
    {"mcp", ""},
};

std::string aligned(std::string_view name, std::string_view text) {
  return fmt::format("  {:<10} {}\n", name, text);
}

}  // namespace

std::string overview() {
  std::string text =
      "lorica: fine-tunes large language models (QLoRA, LoRA, full)\n\n"
      "  lorica train --model_name MODEL_FOLDER --dataset data.jsonl --train_type qlora --output_dir my-run\n"
      "  lorica train my-run.toml --lr 2e-4\n\nCommands\n";
  for (const auto command : kCommands) text += aligned(config::command_name(command), config::command_summary(command));
  text += aligned("help", "explain a command or an option: lorica help lr");
  text += aligned("version", "print the version");
  std::vector<std::string> later;
  for (const auto& [name, meanwhile] : kLater) later.emplace_back(name);
  text += fmt::format(
      "Not built yet: {}\n\nlorica COMMAND --help lists a command's options, lorica COMMAND --help NAME explains "
      "one.\n",
      join(later, ", "));
  return text;
}

std::string help_on(Command command, std::string_view topic) {
  if (topic.empty()) return config::command_help(command);
  if (topic == "all") return config::command_help(command, true);
  return config::explain_option(topic, command);
}

std::string help_on(std::string_view topic) {
  for (const auto command : kCommands) {
    if (topic == config::command_name(command)) return config::command_help(command);
  }
  for (const auto& [name, meanwhile] : kLater) {
    if (topic == name) find_command(topic);
  }
  return config::explain_option(topic);
}

Command find_command(std::string_view name) {
  std::vector<std::string> names = {"help", "version"};
  for (const auto command : kCommands) {
    if (name == config::command_name(command)) return command;
    names.emplace_back(config::command_name(command));
  }
  for (const auto& [later, meanwhile] : kLater) {
    if (name != later) continue;
    raise<ConfigError>("lorica {}: not built yet{}", name, *meanwhile ? fmt::format("; {}", meanwhile) : "");
  }
  if (name.ends_with(".toml")) raise<ConfigError>("'{0}' is no command; to train with it: lorica train {0}", name);
  const auto near = nearest_name(name, names);
  raise<ConfigError>("'{}' is no command{}; `lorica` lists all", name,
                     near.empty() ? "" : fmt::format(" (did you mean {}?)", near));
}

int run_options(const config::ParsedConfig& parsed) {
  if (parsed.config.markdown) {
    fmt::print("{}", config::options_markdown());
  } else {
    for (const auto command : kCommands) fmt::print("{}\n", config::command_help(command, true));
  }
  return 0;
}

}  // namespace lorica::cli
