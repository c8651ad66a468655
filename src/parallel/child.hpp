// One of the processes that launch() starts. Inside parallel/ only. Free of Torch.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "parallel/network.hpp"

namespace lorica::parallel {

struct ChildOptions {
  char** arguments = nullptr;                                  ///< the whole command line
  std::vector<std::pair<std::string, std::string>> variables;  ///< added to our environment
  int store_socket = -1;                                       ///< for rank 0: stays open in the child
  bool captured = false;                                       ///< its output comes to us rather than to the terminal
  sigset_t signals{};                                          ///< blocked ones
};

struct Child {
  pid_t id = -1;
  Descriptor report;  ///< what announce() writes
  Descriptor output;  ///< standard output and error, if captured
};

/// Starts this program once more, in a process group of its own, so that the terminal's Ctrl-C comes through us alone.
/// It is killed when this process ends, however that happens. Throws Error.
Child start_child(const ChildOptions& options);

}  // namespace lorica::parallel
