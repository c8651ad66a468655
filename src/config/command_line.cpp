// Command-line arguments to settings. The rules are argparse's (unique prefixes, --name value, --name=value), and more:
// hyphens equal underscores, booleans may stand alone, lists may be repeated.
#include <fmt/format.h>

#include <algorithm>

#include "base/strings.hpp"
#include "config/settings.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

/// The option that `name` means: exact, or the only one that has a name starting so.
struct Match {
  const Option* option = nullptr;
  std::string name;
  std::vector<std::string> ambiguous;
};

Match match_name(std::string_view written, Command command) {
  const auto wanted = replace_all(std::string(written), "-", "_");
  if (const auto* exact = find_option(wanted, command)) return {exact, wanted, {}};
  Match match;
  std::vector<std::string> canonical;
  for (const auto& row : option_table()) {
    if (!row.belongs_to(command)) continue;
    for (const auto& name : row.names(command)) {
      if (!name.starts_with(wanted)) continue;
      if (std::find(canonical.begin(), canonical.end(), row.name) == canonical.end()) canonical.push_back(row.name);
      if (match.option == nullptr) match.name = name;
      match.option = &row;
    }
  }
  if (canonical.size() > 1) return {nullptr, wanted, canonical};
  return match;
}

class Reader {
 public:
  Reader(Command command, const std::vector<std::string>& arguments) : command_(command), arguments_(arguments) {}

  Settings read() {
    while (at_ < arguments_.size()) {
      const auto& argument = arguments_[at_++];
      if (argument.size() > 2 && argument.starts_with("--")) {
        read_option(argument);
      } else {
        read_positional(argument);
      }
    }
    return std::move(settings_);
  }

 private:
  void read_option(const std::string& argument) {
    const auto equals = argument.find('=');
    const auto written = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = argument.substr(equals + 1);
    if (written == "config") {
      const auto path = value ? value : next_value();
      if (!path) return problem("--config: a path is missing");
      return set_toml(*path);
    }
    const auto match = match_name(written, command_);
    if (match.option == nullptr) {
      if (!value && at_ < arguments_.size() && !arguments_[at_].starts_with("--")) ++at_;  // its value, most likely
      if (match.ambiguous.empty()) return problem(fmt::format("--{}: {}", written, unknown_option(written, command_)));
      return problem(fmt::format("--{}: may mean {}; write the whole name", written, join(match.ambiguous, ", ")));
    }
    if (!value) value = value_of(*match.option);
    if (!value) {
      settings_.tried.insert(match.option->name);
      return problem(fmt::format("--{}: a value is missing; expected {}", written, type_phrase(*match.option)));
    }
    add(*match.option, written == match.name ? written : match.name, "--" + written, *value);
  }

  std::optional<std::string> next_value() {
    if (at_ >= arguments_.size() || (arguments_[at_].size() > 2 && arguments_[at_].starts_with("--")))
      return std::nullopt;
    return arguments_[at_++];
  }

  /// Booleans take the next argument only if it reads as one.
  std::optional<std::string> value_of(const Option& option) {
    const bool more = at_ < arguments_.size();
    if (option.field.type == Type::boolean || option.name == "deepspeed" || option.name == "deepscale") {
      return more && parse_bool(arguments_[at_]) ? arguments_[at_++] : std::string("true");
    }
    if (option.field.type == Type::switch_or_path) {
      const bool path = more && !arguments_[at_].starts_with("--") && !arguments_[at_].ends_with(".toml");
      return path ? arguments_[at_++] : std::string("true");
    }
    return next_value();
  }

  void add(const Option& option, const std::string& written, const std::string& source, const std::string& text) {
    try {
      settings_.all.push_back(
          {&option, replace_all(written, "-", "_"), parse_value(option, text), source, Level::command_line});
    } catch (const BadValue& error) {
      settings_.tried.insert(option.name);
      problem(fmt::format("{}: {}", source, error.what()));
    }
  }

  void read_positional(const std::string& argument) {
    if (command_ == Command::report) return add(option("run"), "run", "run folder", argument);
    if (is_about_training(command_)) return set_toml(argument);
    problem(fmt::format("'{}': not expected here; options start with --", argument));
  }

  void set_toml(const std::string& path) {
    if (!settings_.toml_path.empty()) {
      return problem(fmt::format("'{}': there is a configuration file already: {}", path, settings_.toml_path));
    }
    if (!path.ends_with(".toml")) {
      return problem(
          fmt::format("'{}': not expected here; the configuration file's name must end in .toml, options start "
                      "with --, values of a list are separated by commas or the option is repeated",
                      path));
    }
    settings_.toml_path = path;
  }

  void problem(std::string text) { settings_.problems.push_back(std::move(text)); }

  Command command_;
  const std::vector<std::string>& arguments_;
  std::size_t at_ = 0;
  Settings settings_;
};

}  // namespace

Settings read_command_line(Command command, const std::vector<std::string>& arguments) {
  return Reader(command, arguments).read();
}

std::vector<std::string> all_names(Command command) {
  std::vector<std::string> all;
  for (const auto& row : option_table()) {
    if (!row.belongs_to(command)) continue;
    for (auto& name : row.names(command)) all.push_back(std::move(name));
  }
  return all;
}

std::string unknown_option(std::string_view name, Command command) {
  for (const auto other : {Command::train, Command::generate, Command::merge, Command::forward, Command::tokenize,
                           Command::report, Command::plan, Command::options}) {
    if (other != command && find_option(name, other) != nullptr) {
      return fmt::format("not an option of `lorica {}`; it belongs to `lorica {}`", command_name(command),
                         command_name(other));
    }
  }
  const auto near = nearest_name(replace_all(std::string(name), "-", "_"), all_names(command));
  if (near.empty()) return fmt::format("unknown option; `lorica {} --help` lists all", command_name(command));
  return fmt::format("unknown option (did you mean {}?)", near);
}

}  // namespace lorica::config
