// What a process settles before its command runs: its threads and its log.
#pragma once

#include "config/config.hpp"

namespace lorica::cli {

/// Threads: as asked for, else this process's share of the cores that the processes of this machine have together. Log:
/// rank 0's and a single process's is shown; of the others warnings only, unless verbose; with rank_logs everyone's is
/// in a file as well. Throws ConfigError, FileError.
void set_up_process(const config::Config& config, config::Command command);

}  // namespace lorica::cli
