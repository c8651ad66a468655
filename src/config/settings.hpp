// What the user set, and where: the common form of a command line and a TOML file before they become a Config.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "config/option.hpp"

namespace lorica::config {

/// From weak to strong.
enum class Level { accelerate, toml, command_line };

struct Setting {
  const Option* option = nullptr;
  std::string written;  ///< the name used
  Value value;
  std::string source;  ///< "--lr", "run.toml:12: lr"
  Level level = Level::toml;
};

/// Settings in the order in which they were met; problems don't stop the reading.
struct Settings {
  std::vector<Setting> all;
  std::vector<std::string> problems;  ///< whole lines, source first
  std::vector<std::string> notes;
  std::set<std::string> tried;  ///< canonical names with a value that wasn't accepted (they aren't "missing")
  std::string toml_path;        ///< the TOML file that the command line names, or ""
};

/// Reads the arguments after the command's name.
Settings read_command_line(Command command, const std::vector<std::string>& arguments);

/// Reads a TOML file and adds its settings. A syntax error is a problem with file:line:column; a file that can't be
/// read throws FileError. Options of `train` are accepted for every command, and left out where they don't belong.
void read_toml(Command command, const std::filesystem::path& path, Settings& settings);

/// "unknown option (did you mean …?)", or which command it belongs to.
std::string unknown_option(std::string_view name, Command command);

/// Every name that `command` accepts.
std::vector<std::string> all_names(Command command);

/// Checks and resolves settings into a Config. Throws ConfigError listing every problem.
ParsedConfig resolve(Command command, Settings settings);

/// Settings that won: one for each option, by canonical name.
using Chosen = std::map<std::string, Setting>;

/// derive.cpp: options that set others (load_in_4bit, bf16, max_grad_norm …), and values that follow from others.
void derive(Command command, const Chosen& chosen, ParsedConfig& parsed, std::vector<std::string>& problems);
/// checks.cpp: what is missing, what contradicts, what has no effect.
void check(Command command, const Chosen& chosen, const std::set<std::string>& tried, ParsedConfig& parsed,
           std::vector<std::string>& problems);

}  // namespace lorica::config
