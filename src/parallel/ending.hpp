// How a process ends of an error: one message, once, told to the user or to the launcher that started the process
// (which hears from all of them, and shows the one that matters). Free of Torch.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace lorica::parallel {

struct Ending {
  std::string message;  ///< without "error: "
  int code = 1;         ///< the process's exit code
  bool own = true;      ///< false: it ends because another process failed
  int rank = -1;        ///< among several processes; −1: it is not to be named
};

/// A library's message may carry a backtrace from its second line on.
std::string first_line(std::string_view text);

/// What an exception comes to.
Ending ending_of(const std::exception_ptr& error);

/// Prints `ending` on standard error, or hands it to Lorica's launcher. Only a process's first call does anything.
void announce(const Ending& ending);

/// announce(), and the end, without destructors: they could wait for processes that are gone.
[[noreturn]] void end_process(const Ending& ending);

/// The launcher's side of the pipe: what announce() wrote there. Throws nothing; an unreadable text is an own failure.
Ending read_ending(const std::string& text);

/// Environment variables between Lorica's launcher and the processes that it starts: the number of the pipe; of rank
/// 0's listening socket.
inline constexpr const char* kLaunchedVariable = "LORICA_LAUNCHED";
inline constexpr const char* kStoreSocketVariable = "LORICA_STORE_SOCKET";

}  // namespace lorica::parallel
