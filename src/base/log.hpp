// Set-up of the log: human-readable lines on standard error, so that standard output stays the program's result.
#pragma once

#include <spdlog/spdlog.h>

namespace lorica {

/// Call once, first thing in main(). `verbose` shows debug lines too.
void setup_logging(bool verbose);

}  // namespace lorica
