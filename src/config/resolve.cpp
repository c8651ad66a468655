// Settings to a Config: what may not be set, who wins, which preset fills the rest.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "base/strings.hpp"
#include "config/accelerate_file.hpp"
#include "config/settings.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

bool is_inert(const Setting& setting) {
  const auto& row = *setting.option;
  return std::any_of(row.inert.begin(), row.inert.end(), [&](const std::string& text) {
    if (text.empty()) return plain_text(row, setting.value) == "none";
    try {
      return parse_value(row, text) == setting.value;
    } catch (const BadValue&) {
      return false;
    }
  });
}

/// Refuses what is not built, and notes what is accepted without doing anything.
void check_status(const Setting& setting, Settings& settings) {
  const auto& row = *setting.option;
  if (row.status == Status::built || row.status == Status::derived || is_inert(setting)) return;
  const auto shown = plain_text(row, setting.value);
  if (row.status == Status::noted) {
    settings.notes.push_back(fmt::format("{} {}: {}", setting.source, shown, row.note));
  } else if (row.status == Status::refused) {
    settings.problems.push_back(fmt::format("{}: {} is refused: {}", setting.source, shown, row.note));
  } else {
    settings.problems.push_back(
        fmt::format("{}: {} is not built yet{}", setting.source, shown, row.note.empty() ? "" : " (" + row.note + ")"));
  }
}

/// Adds a list's further items; false if `again` doesn't go on from `setting`.
bool append_list(Setting& setting, const Setting& again) {
  auto* items = std::get_if<std::vector<std::string>>(&setting.value);
  if (items == nullptr) return false;
  for (const auto& item : std::get<std::vector<std::string>>(again.value)) items->push_back(item);
  return true;
}

/// One setting for each option: the command line over the file, the last over the first.
Chosen choose(Settings& settings) {
  Chosen chosen;
  for (const auto& setting : settings.all) {
    const auto [entry, is_new] = chosen.try_emplace(setting.option->name, setting);
    if (is_new) continue;
    auto& held = entry->second;
    if (held.level != setting.level) {
      if (setting.level > held.level) held = setting;
    } else if (held.written != setting.written) {
      settings.problems.push_back(
          fmt::format("{} and {}: two names of the same option; give one", held.source, setting.source));
    } else if (!append_list(held, setting)) {
      settings.notes.push_back(fmt::format("{} is given more than once; the last one counts", setting.source));
      held = setting;
    }
  }
  return chosen;
}

Preset choose_preset(const Settings& settings, const Chosen& chosen, std::string& why) {
  if (const auto given = chosen.find("preset"); given != chosen.end()) {
    Config scratch;
    given->second.option->write(scratch, given->second.value);
    why = "as asked";
    return scratch.preset;
  }
  for (const auto& setting : settings.all) {
    if (!setting.option->selects_pipe_lite(setting.written)) continue;
    why = fmt::format("because of {}; preset = \"fsdp_qlora\" overrides that", setting.written);
    return Preset::qlora_pipe_lite;
  }
  why = "the default";
  return Preset::fsdp_qlora;
}

/// Values of the originals' presets that are not built: what is used instead.
void note_preset(Preset preset, const Chosen& chosen, std::vector<std::string>& notes) {
  if (preset == Preset::qlora_pipe_lite && !chosen.contains("lr_scheduler")) {
    notes.emplace_back("lr_scheduler: qlora-pipe-lite's rms_ratio is not built yet; constant is used");
  }
  if (preset == Preset::qlora_evolved && !chosen.contains("optimizer")) {
    notes.emplace_back("optimizer: qlora-evolved's paged_adamw_32bit is not built yet; adamw is used");
  }
}

std::string list_problems(std::vector<std::string> problems) {
  if (problems.size() == 1) return problems.front();
  return fmt::format("{} problems in the configuration:\n  {}", problems.size(), join(problems, "\n  "));
}

/// The Accelerate configuration that the settings name, if any: the weakest level.
void add_accelerate(Command command, Settings& settings) {
  std::string path;
  for (const auto& setting : settings.all) {
    if (setting.option->name != "accelerate_config") continue;
    if (path.empty() || setting.level == Level::command_line) path = std::get<std::string>(setting.value);
  }
  if (!path.empty()) read_accelerate(command, path, settings);
}

/// qlora-evolved's quant_type none.
void rename_no_quantization(std::vector<Setting>& settings) {
  for (auto& setting : settings) {
    if (setting.option->name != "quant_type" || setting.value != Value(std::string("none"))) continue;
    setting = {&option("load_in_4bit"), setting.written, false, setting.source + " none", setting.level};
  }
}

/// "lr" of "--lr" or "run.toml:12: lr".
std::string written_name(std::string_view source) {
  const auto space = source.rfind(' ');
  if (space != std::string_view::npos) source.remove_prefix(space + 1);
  while (source.starts_with('-')) source.remove_prefix(1);
  return replace_all(std::string(source), "-", "_");
}

/// See ParsedConfig::asked. What an Accelerate file asks for has its own notes.
std::map<std::string, std::string> asked_for(const Chosen& chosen, Preset preset) {
  std::map<std::string, std::string> asked;
  const auto defaults = preset_defaults(preset);
  for (const auto& [name, setting] : chosen) {
    const auto& row = *setting.option;
    if (setting.level == Level::accelerate || !row.field.stored()) continue;
    Config config;
    row.write(config, setting.value);
    if (setting.level == Level::command_line || !(row.read(config) == row.read(defaults))) asked[name] = setting.source;
  }
  return asked;
}

/// Settings of other programs' options become settings of ours, under the name that was written.
void translate(Settings& settings) {
  const auto written = std::exchange(settings.all, {});
  const Lookup given = [&](std::string_view name) -> const Value* {
    for (const auto& setting : written) {
      if (setting.option->name == name) return &setting.value;
    }
    return nullptr;
  };
  for (const auto& setting : written) {
    const auto meaning =
        setting.option->translate ? setting.option->translate(setting.value, given) : Translation{.keep = true};
    if (meaning.keep) settings.all.push_back(setting);
    if (!meaning.problem.empty()) {
      settings.problems.push_back(
          fmt::format("{} {}: {}", setting.source, plain_text(*setting.option, setting.value), meaning.problem));
    }
    for (const auto& [name, text] : meaning.options) {
      const auto& row = option(name);
      settings.all.push_back({&row, setting.written, parse_value(row, text), setting.source, setting.level});
    }
  }
}

}  // namespace

std::vector<std::string> account_for_options(Command command, int processes, ParsedConfig& parsed) {
  std::vector<std::string> refused;
  parsed.account = {};
  for (const auto& row : option_table()) {
    const auto found = parsed.asked.find(row.name);
    if (found == parsed.asked.end()) continue;
    const auto why = inaction(row, {command, parsed.config, processes});
    if (!why) continue;
    if (why->refuse) {
      refused.push_back(fmt::format("{}: {}", found->second, why->reason));
    } else {
      parsed.account.leave_aside(Account::Kind::option, "", written_name(found->second), why->reason);
    }
  }
  return refused;
}

ParsedConfig resolve(Command command, Settings settings) {
  add_accelerate(command, settings);
  rename_no_quantization(settings.all);
  translate(settings);
  for (const auto& setting : settings.all) check_status(setting, settings);
  const auto chosen = choose(settings);

  ParsedConfig parsed;
  std::string why;
  const auto preset = choose_preset(settings, chosen, why);
  parsed.preset = preset_name(preset);
  if (is_about_training(command)) {
    parsed.notes.push_back(fmt::format("preset {} ({})", parsed.preset, why));
    note_preset(preset, chosen, parsed.notes);
  }
  parsed.config = preset_defaults(preset);
  for (const auto& [name, setting] : chosen) {
    parsed.given.insert(name);
    if (setting.option->field.stored()) setting.option->write(parsed.config, setting.value);
  }
  parsed.config.preset = preset;

  derive(command, chosen, parsed, settings.problems);
  parsed.notes.insert(parsed.notes.end(), settings.notes.begin(), settings.notes.end());
  check(command, chosen, settings.tried, parsed, settings.problems);
  parsed.asked = asked_for(chosen, preset);
  for (auto& line : account_for_options(command, 0, parsed)) settings.problems.push_back(std::move(line));
  if (!settings.problems.empty()) throw ConfigError(list_problems(std::move(settings.problems)));
  return parsed;
}

ParsedConfig parse(Command command, const std::vector<std::string>& arguments) {
  auto settings = read_command_line(command, arguments);
  if (!settings.toml_path.empty()) read_toml(command, settings.toml_path, settings);
  return resolve(command, std::move(settings));
}

ParsedConfig parse_toml_file(const std::filesystem::path& path, Command command) {
  Settings settings;
  read_toml(command, path, settings);
  return resolve(command, std::move(settings));
}

Config from_toml_file(const std::filesystem::path& path, Command command) {
  return parse_toml_file(path, command).config;
}

std::string to_toml(const Config& config, Command command) {
  std::string text = fmt::format("# Resolved configuration of `lorica {}`: every option with the value used.\n",
                                 command_name(command));
  std::string group;
  for (const auto& row : option_table()) {
    if (!row.field.stored() || !row.belongs_to(command)) continue;
    const auto value = toml_text(row, row.read(config));
    if (value.empty()) continue;  // an optional that isn't set
    if (row.group != group) text += fmt::format("\n# {}\n", group = row.group);
    text += fmt::format("{} = {}\n", row.name, value);
  }
  return text;
}

std::string value_text(const Config& config, std::string_view name) {
  const auto& row = option(name);
  return toml_text(row, row.read(config));
}

Recompute recompute_policy(const Config& config) {
  if (config.recompute != Recompute::automatic) return config.recompute;
  return config.use_gradient_checkpointing ? Recompute::recompute : Recompute::keep;
}

}  // namespace lorica::config
