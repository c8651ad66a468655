#include "parallel/launch.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>

#include "base/error.hpp"
#include "parallel/child.hpp"
#include "parallel/ending.hpp"
#include "parallel/place.hpp"

namespace lorica::parallel {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kAlike = 2s;   // in which other processes may report the same mistake
constexpr auto kGrace = 10s;  // between being told to stop and being killed

/// A process as the launcher sees it.
struct Member {
  Child child;
  std::string report, line;   // read so far
  std::optional<int> status;  // of waitpid
  int order = 0;              // in which they failed; 0: it didn't
  bool told = false;          // it ended after we had told it to

  bool failed() const { return status && *status != 0; }
};

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("{} (SIG{})", signal, name) : std::to_string(signal);
}

/// Appends what is there to read. False at the end of the stream.
bool drain(const Descriptor& from, std::string& text) {
  char buffer[8192];
  for (;;) {
    const auto got = ::read(from.get(), buffer, sizeof buffer);
    if (got > 0) {
      text.append(buffer, static_cast<std::size_t>(got));
    } else if (got == 0 || errno != EINTR) {
      return got < 0 && errno == EAGAIN;
    }
  }
}

/// SIGINT, SIGTERM and SIGCHLD as something to read, while it lives.
class Signals {
 public:
  Signals() {
    sigset_t handled;
    sigemptyset(&handled);
    for (const int signal : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&handled, signal);
    ::sigprocmask(SIG_BLOCK, &handled, &before_);
    file_ = Descriptor(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
    if (file_.get() < 0) raise<Error>("can't wait for signals: {}", std::strerror(errno));
  }
  ~Signals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  const sigset_t& before() const { return before_; }
  int file() const { return file_.get(); }
  /// The next one; 0 if there is none.
  int next() const {
    signalfd_siginfo info{};
    return ::read(file_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t before_{};
  Descriptor file_;
};

class Launcher {
 public:
  explicit Launcher(int count) : members_(count) {}

  void start(const config::ParsedConfig& parsed, char** arguments);
  int run();

 private:
  int size() const { return static_cast<int>(members_.size()); }
  void wait();
  void take_signals();
  void reap();
  void read(int rank);
  void show_line(int rank, const std::string& line) const;
  void stop_the_rest();
  void signal_all(int signal) const;
  bool all_ended() const;
  int conclude();
  Ending ending_of(int rank) const;

  Signals signals_;
  std::vector<Member> members_;
  int failures_ = 0, interrupted_by_ = 0;
  Clock::time_point first_failure_{}, told_{};
  bool killed_ = false;
};

void Launcher::start(const config::ParsedConfig& parsed, char** arguments) {
  const auto& config = parsed.config;
  const auto& host = config.master_addr;
  const auto store = listen_on(host, parsed.given.contains("master_port") ? static_cast<int>(config.master_port) : 0);
  for (int rank = 0; rank < size(); ++rank) {
    ChildOptions options;
    options.arguments = arguments;
    options.store_socket = rank == 0 ? store.get() : -1;
    options.captured = rank > 0;
    options.signals = signals_.before();
    const auto own = std::to_string(rank), all = std::to_string(size());
    options.variables = {{"RANK", own},         {"WORLD_SIZE", all},
                         {"LOCAL_RANK", own},   {"LOCAL_WORLD_SIZE", all},
                         {"MASTER_ADDR", host}, {"MASTER_PORT", std::to_string(port_of(store))}};
    members_[rank].child = start_child(options);
  }
}

int Launcher::run() {
  while (!all_ended()) {
    wait();
    take_signals();
    reap();
    for (int rank = 0; rank < size(); ++rank) read(rank);
    if (failures_ > 0) stop_the_rest();
  }
  for (int rank = 0; rank < size(); ++rank) {
    if (!members_[rank].line.empty()) show_line(rank, members_[rank].line);
  }
  return conclude();
}

/// Until there is something to do, or a moment has passed in which others may have to be stopped.
void Launcher::wait() {
  std::vector<pollfd> files{{signals_.file(), POLLIN, 0}};
  for (const auto& member : members_) {
    for (const auto* file : {&member.child.report, &member.child.output}) {
      if (file->get() >= 0) files.push_back({file->get(), POLLIN, 0});
    }
  }
  ::poll(files.data(), files.size(), failures_ > 0 ? 100 : -1);
}

void Launcher::take_signals() {
  for (int signal = signals_.next(); signal != 0; signal = signals_.next()) {
    if (signal == SIGCHLD) continue;
    interrupted_by_ = signal;
    signal_all(signal);
  }
}

void Launcher::reap() {
  for (auto& member : members_) {
    int status = 0;
    if (member.status || ::waitpid(member.child.id, &status, WNOHANG) != member.child.id) continue;
    member.status = status;
    member.told = told_ != Clock::time_point{};
    if (!member.failed()) continue;
    if (failures_ == 0) first_failure_ = Clock::now();
    member.order = ++failures_;
  }
}

void Launcher::read(int rank) {
  auto& child = members_[rank].child;
  if (child.report.get() >= 0 && !drain(child.report, members_[rank].report)) child.report = Descriptor();
  if (child.output.get() < 0) return;
  auto& line = members_[rank].line;
  if (!drain(child.output, line)) child.output = Descriptor();
  for (auto end = line.find('\n'); end != std::string::npos; end = line.find('\n')) {
    show_line(rank, line.substr(0, end));
    line.erase(0, end + 1);
  }
}

void Launcher::show_line(int rank, const std::string& line) const {
  const auto mark = fmt::format("[rank {}] ", rank);
  fmt::print(stderr, "{}{}\n", line.starts_with(mark) ? "" : mark, line);
}

/// Somebody failed: most others notice by themselves. SIGTERM for those who don't, or aren't that far; then SIGKILL.
void Launcher::stop_the_rest() {
  const auto now = Clock::now();
  if (told_ == Clock::time_point{}) {
    if (now - first_failure_ < kAlike) return;
    told_ = now;
    signal_all(SIGTERM);
    signal_all(SIGCONT);  // one that was stopped can end by itself then
  } else if (!killed_ && now - told_ > kGrace) {
    killed_ = true;
    signal_all(SIGKILL);
  }
}

void Launcher::signal_all(int signal) const {
  for (const auto& member : members_) {
    if (!member.status) ::kill(member.child.id, signal);
  }
}

bool Launcher::all_ended() const {
  for (const auto& member : members_) {
    if (!member.status) return false;
  }
  return true;
}

/// Why a process failed, by its own word or by how it ended. One that we stopped isn't at fault.
Ending Launcher::ending_of(int rank) const {
  const auto& member = members_[rank];
  if (!member.report.empty()) return read_ending(member.report);
  if (WIFEXITED(*member.status)) {
    return {fmt::format("ended with exit code {} without a word", WEXITSTATUS(*member.status)), 1, !member.told, rank};
  }
  const int signal = WTERMSIG(*member.status);
  return {fmt::format("was killed by signal {}{}", signal_name(signal),
                      signal == SIGKILL ? "; if nobody did it, the machine ran out of memory" : ""),
          1, !member.told, rank};
}

/// Says why the run failed: the first process that failed for a reason of its own counts, else the first one.
int Launcher::conclude() {
  if (failures_ == 0) return 0;
  int first = -1, alike = 0;
  const auto counts_more = [&](int a, int b) {
    const bool own_a = ending_of(a).own, own_b = ending_of(b).own;
    return own_a != own_b ? own_a : members_[a].order < members_[b].order;
  };
  for (int rank = 0; rank < size(); ++rank) {
    if (members_[rank].order > 0 && (first < 0 || counts_more(rank, first))) first = rank;
  }
  const auto cause = ending_of(first);
  const auto& status = *members_[first].status;
  if (interrupted_by_ != 0 && WIFSIGNALED(status) && WTERMSIG(status) == interrupted_by_) return 128 + interrupted_by_;
  for (int rank = 0; rank < size(); ++rank) {
    alike += members_[rank].order > 0 && ending_of(rank).message == cause.message;
  }
  const bool said = !members_[first].report.empty();
  // Rank 0 reads and writes for all, so a mistake of the user that it alone finds is no less everybody's.
  const bool everybodys = alike == size() || (first == 0 && cause.code == 2);
  if (!cause.own && said) {
    fmt::print(stderr, "error: {}\n", cause.message);  // names the process itself
  } else if (said && everybodys) {
    fmt::print(stderr, "error: {}\n", cause.message);
  } else {
    fmt::print(stderr, "error: rank {}{} {}\n", first, said ? ":" : "", cause.message);
  }
  return cause.code;
}

}  // namespace

int processes_to_start(const config::Config& config) {
  return config.world_size > 1 && !has_launcher() ? static_cast<int>(config.world_size) : 0;
}

int launch(const config::ParsedConfig& parsed, int count, char** arguments) {
  Launcher launcher(count);
  launcher.start(parsed, arguments);
  return launcher.run();
}

}  // namespace lorica::parallel
