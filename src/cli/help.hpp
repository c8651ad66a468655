// What `lorica` says about itself: the overview, `lorica help TOPIC`, and commands that are known but not built yet.
#pragma once

#include <string>
#include <string_view>

#include "config/config.hpp"

namespace lorica::cli {

/// `lorica` alone, `lorica --help`.
std::string overview();

/// `lorica help TOPIC`: a command's options, or one option. Throws ConfigError for an unknown topic.
std::string help_on(std::string_view topic);

/// `lorica COMMAND --help [TOPIC]`: an option of the command (or the nearest one), all of them ("all"), or an overview.
std::string help_on(config::Command command, std::string_view topic);

/// The command of this name. Throws ConfigError for one that is not built yet or not known at all (did you mean …).
config::Command find_command(std::string_view name);

}  // namespace lorica::cli
