// The option table for readers: --help of a command, the explanation of one option, docs/OPTIONS.md.
#pragma once

#include <string>
#include <string_view>

#include "config/option.hpp"

namespace lorica::config {

/// `lorica COMMAND --help`: the command's options by group, wrapped to 100 columns.
std::string command_help(Command command);

/// `lorica help OPTION`: everything about one option, by any of its names. Throws ConfigError (did you mean …).
std::string explain_option(std::string_view name);

/// The content of docs/OPTIONS.md.
std::string options_markdown();

/// One line on what a command does.
std::string_view command_summary(Command command);

}  // namespace lorica::config
