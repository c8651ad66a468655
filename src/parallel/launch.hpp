// Starting the processes of a run on this machine, and watching over them. Free of Torch.
#pragma once

#include "config/config.hpp"

namespace lorica::parallel {

/// Processes that `config` asks this program to start itself: world_size, if it is above 1 and no launcher's variables
/// are set; else 0, and the caller is one process of the run (or the only one). −1 means one process as long as host
/// memory is all that several can exchange.
int processes_to_start(const config::Config& config);

/// Starts `count` copies of this program with `arguments` (the whole command line, argv[0] first), each told its place,
/// and waits for them. Signals SIGINT and SIGTERM are handed on. When one fails, the others are told to stop and, if
/// they don't within the grace period, killed; none outlives this process, even if it is killed itself. Rank 0 writes
/// to our standard output and error; what the others write is shown line by line on standard error with their rank in
/// front. Returns the exit code: 0, or that of the first process to fail, after printing which one it was and why.
/// Throws ConfigError when the port is in use.
int launch(const config::ParsedConfig& parsed, int count, char** arguments);

}  // namespace lorica::parallel
