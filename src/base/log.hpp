// Set-up of the log: human-readable lines on standard error, so that standard output stays the program's result.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace lorica {

struct LogOptions {
  bool verbose = false;  ///< debug lines too
  int rank = -1;         ///< of several processes; those above 0 show warnings only, unless verbose, and their rank
  std::string file;      ///< a copy of all lines, each with its time; "": none
};

/// Call first thing in main(), and again when the options are known. Throws FileError if the file can't be written.
void setup_logging(const LogOptions& options = {});

}  // namespace lorica
