#include "parallel/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "base/error.hpp"
#include "parallel/ending.hpp"

extern char** environ;

namespace lorica::parallel {
namespace {

constexpr int kCantStart = 127;

struct Pipe {
  Descriptor read, write;
};

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) raise<Error>("can't make a pipe: {}", std::strerror(errno));
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& variables) {
  std::map<std::string, std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string::npos) all[text.substr(0, equals)] = text.substr(equals + 1);
  }
  for (const auto& [name, value] : variables) all[name] = value;
  std::vector<std::string> result;
  for (const auto& [name, value] : all) result.push_back(name + "=" + value);
  return result;
}

void keep_open(int file) {
  ::fcntl(file, F_SETFD, 0);
}

/// In the child, between fork and exec: system calls only.
[[noreturn]] void become(const ChildOptions& options, char** environment, pid_t parent, int report, int output) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kCantStart);  // it died before the line above
  ::setpgid(0, 0);
  ::signal(SIGTTOU, SIG_IGN);  // else a terminal may stop who writes to it from a group in the background
  keep_open(report);
  if (options.store_socket >= 0) keep_open(options.store_socket);
  if (output >= 0) {
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
  }
  // Whoever ignores them (a shell's background jobs do) hands that on; but what the launcher passes on is meant.
  for (const int signal : {SIGINT, SIGTERM}) ::signal(signal, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &options.signals, nullptr);
  ::execve("/proc/self/exe", options.arguments, environment);
  ::_exit(kCantStart);
}

}  // namespace

Child start_child(const ChildOptions& options) {
  auto report = make_pipe(), output = make_pipe();
  auto variables = options.variables;
  variables.emplace_back(kLaunchedVariable, std::to_string(report.write.get()));
  if (options.store_socket >= 0) variables.emplace_back(kStoreSocketVariable, std::to_string(options.store_socket));
  auto texts = environment_with(variables);
  std::vector<char*> environment;
  for (auto& text : texts) environment.push_back(text.data());
  environment.push_back(nullptr);

  const pid_t parent = ::getpid();
  Child child;
  child.id = ::fork();
  if (child.id < 0) raise<Error>("can't start another process: {}", std::strerror(errno));
  if (child.id == 0) {
    become(options, environment.data(), parent, report.write.get(), options.captured ? output.write.get() : -1);
  }
  child.report = std::move(report.read);
  if (options.captured) child.output = std::move(output.read);
  return child;
}

}  // namespace lorica::parallel
