#include "config/option.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

template <class T>
Field plain(Type type, T Config::*member) {
  return {type, [member](const Config& c) -> Value { return c.*member; },
          [member](Config& c, const Value& v) { c.*member = std::get<T>(v); }};
}

template <class T>
Field maybe(Type type, std::optional<T> Config::*member) {
  return {type, [member](const Config& c) -> Value { return (c.*member) ? Value(*(c.*member)) : Value(); },
          [member](Config& c, const Value& v) {
            if (std::holds_alternative<std::monostate>(v)) {
              (c.*member).reset();
            } else {
              c.*member = std::get<T>(v);
            }
          }};
}

struct AliasParts {
  std::string name, command;
  bool pipe_lite = false;
};

AliasParts alias_parts(std::string_view alias) {
  AliasParts parts;
  if (alias.ends_with('!')) {
    parts.pipe_lite = true;
    alias.remove_suffix(1);
  }
  if (const auto colon = alias.find(':'); colon != std::string_view::npos) {
    parts.command = alias.substr(0, colon);
    alias.remove_prefix(colon + 1);
  }
  parts.name = alias;
  return parts;
}

}  // namespace

Field of(bool Config::*member) {
  return plain(Type::boolean, member);
}
Field of(std::int64_t Config::*member) {
  return plain(Type::integer, member);
}
Field of(double Config::*member) {
  return plain(Type::number, member);
}
Field of(std::string Config::*member) {
  return plain(Type::text, member);
}
Field of(std::vector<std::string> Config::*member) {
  return plain(Type::list, member);
}
Field of(std::optional<std::int64_t> Config::*member) {
  return maybe(Type::integer, member);
}
Field of(std::optional<double> Config::*member) {
  return maybe(Type::number, member);
}
Field size(std::int64_t Config::*member) {
  return plain(Type::size, member);
}
Field switch_or_path(std::string Config::*member) {
  return plain(Type::switch_or_path, member);
}
Field none(Type type) {
  return {type, {}, {}};
}

Field layers(std::vector<std::int64_t> Config::*member) {
  return {Type::layers, [member](const Config& c) -> Value { return layers_text(c.*member); },
          [member](Config& c, const Value& v) { c.*member = parse_layers(std::get<std::string>(v)); }};
}

bool Range::contains(double value) const {
  return std::isfinite(value) && (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
}

bool Range::unlimited() const {
  return std::isinf(low) && std::isinf(high);
}

std::string Range::text() const {
  if (unlimited()) return "";
  if (std::isinf(high)) return fmt::format("{} {}", low_open ? "above" : "at least", low);
  if (std::isinf(low)) return fmt::format("{} {}", high_open ? "below" : "at most", high);
  return fmt::format("from {} to {}{}", low, high,
                     low_open && high_open ? ", both excluded"
                     : low_open            ? fmt::format(", {} excluded", low)
                     : high_open           ? fmt::format(", {} excluded", high)
                                           : "");
}

std::vector<std::string> Option::names(Command command) const {
  std::vector<std::string> all = {name};
  for (const auto& alias : aliases) {
    const auto parts = alias_parts(alias);
    if (parts.name == name) continue;  // listed only to mark it as qlora-pipe-lite's
    const auto asked = is_about_training(command) ? command_name(Command::train) : command_name(command);
    if (parts.command.empty() || parts.command == command_name(command) || parts.command == asked) {
      all.push_back(parts.name);
    }
  }
  return all;
}

bool Option::selects_pipe_lite(std::string_view written) const {
  return std::any_of(aliases.begin(), aliases.end(), [&](const std::string& alias) {
    const auto parts = alias_parts(alias);
    return parts.pipe_lite && parts.name == written;
  });
}

Value Option::read(const Config& config) const {
  ensure(field.stored(), "option {} has no field", name);
  const Value raw = field.get(config);
  if (field.type != Type::choice) return raw;
  const auto wanted = std::get<std::int64_t>(raw);
  for (const auto& choice : choices) {
    if (choice.built && choice.value == wanted) return choice.name;
  }
  raise<Error>("internal error: option {} holds {}, which is none of its choices", name, wanted);
}

void Option::write(Config& config, const Value& value) const {
  ensure(field.stored(), "option {} has no field", name);
  if (field.type != Type::choice) {
    field.set(config, value);
    return;
  }
  for (const auto& choice : choices) {
    if (choice.name == std::get<std::string>(value)) {
      field.set(config, static_cast<std::int64_t>(choice.value));
      return;
    }
  }
  raise<Error>("internal error: '{}' is no choice of option {}", std::get<std::string>(value), name);
}

const std::vector<Option>& option_table() {
  static const std::vector<Option> table = [] {
    std::vector<Option> all;
    for (auto part : {run_options, model_options, data_options, training_options, saving_options, distributed_options,
                      profiling_options, command_options, peer_options}) {
      for (auto& row : part()) all.push_back(std::move(row));
    }
    return all;
  }();
  return table;
}

const Option& option(std::string_view name) {
  for (const auto& row : option_table()) {
    if (row.name == name) return row;
  }
  raise<Error>("internal error: there is no option '{}'", name);
}

const Option* find_option(std::string_view name, Command command) {
  const auto wanted = replace_all(std::string(name), "-", "_");
  for (const auto& row : option_table()) {
    if (!row.belongs_to(command)) continue;
    const auto names = row.names(command);
    if (std::find(names.begin(), names.end(), wanted) != names.end()) return &row;
  }
  return nullptr;
}

std::string_view preset_name(Preset preset) {
  return name_of(preset);
}

Config preset_defaults(Preset preset) {
  Config config;
  for (const auto& row : option_table()) {
    const auto& text = preset == Preset::qlora_pipe_lite ? row.pipe_lite : row.evolved;
    if (preset == Preset::fsdp_qlora || text.empty() || !row.field.stored()) continue;
    row.write(config, parse_value(row, text));
  }
  config.preset = preset;
  return config;
}

std::string_view command_name(Command command) {
  return name_of(command);
}

}  // namespace lorica::config
