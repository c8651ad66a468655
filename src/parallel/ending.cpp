#include "parallel/ending.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <string_view>
#include <utility>

#include "base/error.hpp"

namespace lorica::parallel {
namespace {

std::mutex announcing;  // a second caller returns when the first one's message is out
bool announced = false;

/// The launcher's pipe; -1 without one.
int launcher_pipe() {
  const char* text = std::getenv(kLaunchedVariable);
  int number = -1;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), number);
  return number;
}

bool write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

std::string first_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

Ending ending_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const PeerError& peer) {
    return {peer.what(), peer.exit_code(), false, -1};
  } catch (const Error& known) {
    return {known.what(), known.exit_code(), true, -1};
  } catch (const std::bad_alloc&) {
    return {"out of memory: a smaller batch_size, context_length or model may fit", 1, true, -1};
  } catch (const std::exception& unknown) {
    return {"internal error: " + first_line(unknown.what()), 1, true, -1};
  } catch (...) {
    return {"internal error: something unknown was thrown", 1, true, -1};
  }
}

void announce(const Ending& ending) {
  const std::lock_guard lock(announcing);
  if (std::exchange(announced, true)) return;
  const auto record = fmt::format("{} {}\n{}", ending.own ? "own" : "peer", ending.code, ending.message);
  const int pipe = launcher_pipe();
  if (pipe >= 0 && write_all(pipe, record)) return;
  const auto who = ending.own && ending.rank >= 0 ? fmt::format("rank {}: ", ending.rank) : "";
  write_all(STDERR_FILENO, fmt::format("error: {}{}\n", who, ending.message));
}

void end_process(const Ending& ending) {
  announce(ending);
  std::_Exit(ending.code);
}

Ending read_ending(const std::string& text) {
  Ending ending{text, 1, true, -1};
  const auto line = text.find('\n');
  if (line == std::string::npos) return ending;
  const std::string_view head(text.data(), line);
  const auto space = head.find(' ');
  if (space == std::string_view::npos) return ending;
  ending.own = head.substr(0, space) == "own";
  std::from_chars(head.data() + space + 1, head.data() + head.size(), ending.code);
  ending.message = text.substr(line + 1);
  return ending;
}

}  // namespace lorica::parallel
