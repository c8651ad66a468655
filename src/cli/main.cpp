// The program's entry: finds the command, parses its options, runs it, and turns errors into messages and exit codes
// (2: the user's mistake, 1: ours). No backtraces.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/strings.hpp"
#include "cli/commands.hpp"
#include "cli/help.hpp"
#include "cli/process.hpp"
#include "parallel/ending.hpp"
#include "parallel/launch.hpp"
#include "parallel/place.hpp"

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
  return word == "--help" || word == "-h" || word.starts_with("--help=");
}

/// What is asked about: the word after --help, or "".
std::string_view help_topic(const std::vector<std::string>& words) {
  const auto asked = std::find_if(words.begin(), words.end(), asks_help);
  if (const auto equals = asked->find('='); equals != std::string::npos)
    return std::string_view(*asked).substr(equals + 1);
  return asked + 1 == words.end() ? std::string_view() : std::string_view(*(asked + 1));
}

/// How many processes take part; 0: not known.
int processes(config::Command command, const config::Config& config) {
  if (command == config::Command::train) return parallel::find_place(config).world;
  if (command == config::Command::plan) return static_cast<int>(std::max<std::int64_t>(0, config.world_size));
  return 1;
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
  if (std::any_of(words.begin(), words.end(), asks_help)) return print(help_on(command, help_topic(words)));
  auto parsed = config::parse(command, words);
  wait_without_spinning(arguments);
  if (command == config::Command::train) {
    if (const int count = parallel::processes_to_start(parsed.config)) {
      return parallel::launch(parsed, count, arguments);
    }
  }
  set_up_process(parsed.config, command);
  config::account_for_options(command, processes(command, parsed.config),
                              parsed);  // parse() has thrown what it refuses
  for (const auto& note : parsed.notes) spdlog::info("{}", note);
  // A training run says it with what else it left aside, and keeps it in its folder.
  if (command != config::Command::train) {
    for (const auto& line : parsed.account.lines()) spdlog::info("{}", line);
  }
  for (const auto& line : split(config::to_toml(parsed.config, command), '\n')) spdlog::debug("{}", line);
  return runner(command)(parsed);
}

}  // namespace
}  // namespace lorica::cli

int main(int count, char** arguments) {
  try {
    lorica::setup_logging();
    return lorica::cli::dispatch({arguments + 1, arguments + count}, arguments);
  } catch (...) {
    const auto ending = lorica::parallel::ending_of(std::current_exception());
    lorica::parallel::announce(ending);
    return ending.code;
  }
}
