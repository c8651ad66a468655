// The option table for readers: --help of a command, the explanation of one option, docs/OPTIONS.md.
#pragma once

#include <string>
#include <string_view>

#include "config/option.hpp"

namespace lorica::config {

/// `lorica COMMAND --help`, wrapped to 100 columns: what is most used first, then by group, what isn't built last.
/// `full`: every option with all that is known of it.
std::string command_help(Command command, bool full = false);

/// `lorica help OPTION`, `lorica COMMAND --help OPTION`: everything about one option, by any of its names, or about the
/// nearest one. `command`'s own options come first. Throws ConfigError where nothing is near.
std::string explain_option(std::string_view name, Command command = Command::train);

/// The content of docs/OPTIONS.md.
std::string options_markdown();

/// One line on what a command does.
std::string_view command_summary(Command command);

}  // namespace lorica::config
