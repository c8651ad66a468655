// Several processes of a run, forked from a test: no thread of LibTorch may have been started before in the test's own
// process.
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel/ending.hpp"
#include "parallel/network.hpp"
#include "parallel/place.hpp"

namespace lorica::parallel {

/// Thrown by check(): the message is printed, and the process exits with 1.
struct CheckFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(bool condition, const std::string& what) {
  if (!condition) throw CheckFailed(what);
}

struct Exit {
  int code = -1;  ///< −1: killed
  int signal = 0;
  std::string output;  ///< what body returned, or "threw: " and what it threw, or what announce() wrote
  double seconds = 0;  ///< from the start of all to its end
};

/// Calls body(place) in `count` processes, and waits for them. Each exits with 0, or 1 if body threw.
inline std::vector<Exit> run_processes(int count, const std::function<std::string(const Place&)>& body) {
  const auto start = std::chrono::steady_clock::now();
  auto socket = listen_on("127.0.0.1", 0);
  const int port = port_of(socket);
  std::vector<pid_t> children;
  std::vector<int> pipes;
  for (int rank = 0; rank < count; ++rank) {
    int ends[2];
    if (::pipe(ends) != 0) throw CheckFailed("pipe");
    const pid_t child = ::fork();
    if (child == 0) {
      Place place;
      place.rank = place.local_rank = rank;
      place.world = place.local_world = count;
      place.master_port = port;
      place.launcher = "test";
      if (rank == 0) {
        place.store_socket = socket.release();
      } else {
        socket = Descriptor();
      }
      at::set_num_threads(1);  // the pool of threads doesn't come along
      ::setenv(kLaunchedVariable, std::to_string(ends[1]).c_str(), 1);
      std::string text;
      int code = 0;
      try {
        text = body(place);
      } catch (const std::exception& error) {
        text = std::string("threw: ") + error.what();
        code = 1;
      }
      if (::write(ends[1], text.data(), text.size()) < 0) code = 3;
      std::_Exit(code);
    }
    ::close(ends[1]);
    children.push_back(child);
    pipes.push_back(ends[0]);
  }
  socket = Descriptor();
  std::vector<Exit> exits(count);
  for (int left = count; left > 0; --left) {
    int status = 0;
    const pid_t child = ::wait(&status);
    const auto rank = std::find(children.begin(), children.end(), child) - children.begin();
    if (rank == count) throw CheckFailed("an unknown child");
    auto& exit = exits[rank];
    exit.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (WIFEXITED(status)) exit.code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) exit.signal = WTERMSIG(status);
    char buffer[4096];  // a pipe holds far more than any of them writes
    for (ssize_t got = 0; (got = ::read(pipes[rank], buffer, sizeof buffer)) > 0;) exit.output.append(buffer, got);
    ::close(pipes[rank]);
  }
  return exits;
}

/// run_processes, all of which must succeed.
inline void all_succeed(int count, const std::function<void(const Place&)>& body) {
  const auto exits = run_processes(count, [&](const Place& place) {
    body(place);
    return std::string();
  });
  for (int rank = 0; rank < count; ++rank) {
    EXPECT_EQ(exits[rank].code, 0) << "rank " << rank << " of " << count << ": " << exits[rank].output;
  }
}

}  // namespace lorica::parallel
