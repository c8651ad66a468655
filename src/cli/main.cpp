// The program's entry: finds the command, parses its options, runs it, and turns errors into messages and exit codes
// (2: the user's mistake, 1: ours). No backtraces.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "cli/commands.hpp"
#include "cli/help.hpp"

namespace lorica::cli {
namespace {

using Run = int (*)(const config::ParsedConfig&);

Run runner(config::Command command) {
  switch (command) {
    case config::Command::train:
      return run_train;
    case config::Command::merge:
      return run_merge;
    case config::Command::generate:
      return run_generate;
    case config::Command::forward:
      return run_forward;
    case config::Command::tokenize:
      return run_tokenize;
    case config::Command::report:
      return run_report;
    case config::Command::options:
      return run_options;
    case config::Command::plan:
      return run_plan;
  }
  raise<Error>("internal error: unknown command");
}

bool asks_help(std::string_view word) {
  return word == "--help" || word == "-h";
}

int print(std::string_view text) {
  fmt::print("{}", text);
  return 0;
}

/// LibTorch's threads (GNU OpenMP) spin while they wait for the next product. Where other processes want the same
/// cores, a spinning thread holds up the one it waits for, and a run slows down twenty times over. OpenMP reads its
/// policy once, when the library is loaded, so the program starts itself again with it. The user's own choice stands.
void wait_without_spinning(char** arguments) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  ::execv("/proc/self/exe", arguments);  // returns only if it can't (no /proc): then go on as we are
}

int dispatch(std::vector<std::string> words, char** arguments) {
  if (words.empty() || asks_help(words.front())) return print(overview());
  if (words.front() == "--version" || words.front() == "version") return print("lorica " LORICA_VERSION "\n");
  if (words.front() == "help") return print(words.size() > 1 ? help_on(words[1]) : overview());
  const auto command = find_command(words.front());
  words.erase(words.begin());
  if (std::any_of(words.begin(), words.end(), asks_help)) return print(help_on(config::command_name(command)));
  const auto parsed = config::parse(command, words);
  wait_without_spinning(arguments);
  if (parsed.config.verbose) setup_logging(true);
  for (const auto& note : parsed.notes) spdlog::info("{}", note);
  return runner(command)(parsed);
}

}  // namespace
}  // namespace lorica::cli

int main(int count, char** arguments) {
  lorica::setup_logging(false);
  try {
    return lorica::cli::dispatch({arguments + 1, arguments + count}, arguments);
  } catch (const lorica::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return error.exit_code();
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "error: out of memory: a smaller batch_size, context_length or model may fit\n");
    return 1;
  } catch (const std::exception& error) {
    // A library's message may carry a backtrace from its second line on.
    const std::string_view message = error.what();
    fmt::print(stderr, "error: internal error: {}\n", message.substr(0, message.find('\n')));
    return 1;
  }
}
