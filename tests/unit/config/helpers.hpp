// Shared by the tests of config/: command lines that lack nothing, files to read, messages of errors.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/temporary_folder.hpp"
#include "config/config.hpp"

namespace lorica::config::test {

using Words = std::vector<std::string>;

/// The arguments that `command` can't do without, except those that mean one of `leave_out`.
inline Words required(Command command, const Words& leave_out = {}) {
  std::vector<std::pair<std::string, std::string>> pairs;
  if (command != Command::report && command != Command::options) pairs.emplace_back("model_name", "base");
  if (command == Command::merge) pairs.insert(pairs.end(), {{"adapter", "a"}, {"output", "o"}});
  if (command == Command::forward) pairs.insert(pairs.end(), {{"input", "i"}, {"output", "o"}});
  if (command == Command::generate) pairs.emplace_back("prompt", "p");
  if (command == Command::tokenize) pairs.emplace_back("input", "i");
  if (command == Command::report) pairs.emplace_back("run", "r");
  Words words;
  for (const auto& [name, value] : pairs) {
    if (std::find(leave_out.begin(), leave_out.end(), name) != leave_out.end()) continue;
    words.push_back("--" + name);
    words.push_back(value);
  }
  return words;
}

inline ParsedConfig train(Words words) {
  const auto base = required(Command::train);
  words.insert(words.begin(), base.begin(), base.end());
  return parse(Command::train, words);
}

/// The message of the ConfigError that these arguments raise; "" if they don't.
inline std::string error_of(Command command, const Words& words) {
  try {
    parse(command, words);
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  return "";
}

inline std::string train_error(Words words) {
  const auto base = required(Command::train);
  words.insert(words.begin(), base.begin(), base.end());
  return error_of(Command::train, words);
}

/// A folder that is gone after the test.
class WithFolder : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& content) {
    ::lorica::test::put_file(folder_ / name, content);
    return (folder_ / name).string();
  }
  /// Parses a TOML file with this content, and more arguments.
  ParsedConfig toml(const std::string& content, Words more = {}, Command command = Command::train) {
    const Words file = {"--config", write("run.toml", content)};
    more.insert(more.begin(), file.begin(), file.end());
    return parse(command, more);
  }
  std::string toml_error(const std::string& content, Words more = {}, Command command = Command::train) {
    try {
      toml(content, std::move(more), command);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  }

  ::lorica::test::TemporaryFolder folder_;
};

}  // namespace lorica::config::test
