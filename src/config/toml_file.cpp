// A TOML file to settings: flat keys (any name of an option) and [[datasets]] tables as qlora-pipe-lite has them.
#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>

#include "base/files.hpp"
#include "base/strings.hpp"
#include "config/settings.hpp"
#include "config/value.hpp"

namespace lorica::config {
namespace {

std::string kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

[[noreturn]] void wrong_type(const Option& option, const toml::node& node) {
  throw BadValue(fmt::format("expected {}, got {}", type_phrase(option), kind_of(node)));
}

/// The table's entries as they stand in the file (toml++ sorts them by name).
std::vector<std::pair<const toml::key*, const toml::node*>> in_order(const toml::table& table) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    const auto left = a.first->source().begin, right = b.first->source().begin;
    return std::pair(left.line, left.column) < std::pair(right.line, right.column);
  });
  return entries;
}

Value list_value(const Option& option, const toml::node& node) {
  const auto* array = node.as_array();
  if (array == nullptr) return parse_value(option, *node.value<std::string>());
  std::vector<std::string> items;
  for (const auto& item : *array) {
    if (!item.is_string()) throw BadValue(fmt::format("expected a list of strings, got {} in it", kind_of(item)));
    items.push_back(*item.value<std::string>());
  }
  return check_value(option, std::move(items));
}

/// A table of texts as the items name=value.
Value pairs_value(const Option& option, const toml::table& table) {
  std::vector<std::string> items;
  for (const auto& [key, node] : in_order(table)) {
    if (!node->is_string()) throw BadValue(fmt::format("expected a text for {}, got {}", key->str(), kind_of(*node)));
    items.push_back(fmt::format("{}={}", key->str(), *node->value<std::string>()));
  }
  return check_value(option, std::move(items));
}

Value layers_value(const Option& option, const toml::node& node) {
  if (node.is_string()) return parse_value(option, *node.value<std::string>());
  if (node.is_integer()) return parse_value(option, fmt::format("{}", *node.value<std::int64_t>()));
  std::vector<std::string> parts;
  for (const auto& item : *node.as_array()) {
    if (!item.is_integer())
      throw BadValue(fmt::format("expected a list of layer numbers, got {} in it", kind_of(item)));
    parts.push_back(fmt::format("{}", *item.value<std::int64_t>()));
  }
  return parse_value(option, join(parts, ","));
}

/// A value of any type as text, for options that are not built.
std::string any_text(const toml::node& node) {
  if (const auto text = node.value<std::string>()) return *text;
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* whole = node.as_integer()) return fmt::format("{}", whole->get());
  if (const auto* real = node.as_floating_point()) return fmt::format("{}", real->get());
  const auto* array = node.as_array();
  if (array != nullptr && array->empty()) return "";
  return kind_of(node);
}

Value node_value(const Option& option, const toml::node& node) {
  const bool text = node.is_string();
  switch (option.field.type) {
    case Type::boolean:
      if (const auto* flag = node.as_boolean()) return flag->get();
      break;
    case Type::integer:
      if (const auto* whole = node.as_integer()) return check_value(option, whole->get());
      if (const auto* real = node.as_floating_point()) {
        if (const auto whole = whole_number(real->get())) return check_value(option, *whole);
        throw BadValue(fmt::format("expected {}, got {}", type_phrase(option), real->get()));
      }
      break;
    case Type::number:
      if (const auto* whole = node.as_integer()) return check_value(option, static_cast<double>(whole->get()));
      if (const auto* real = node.as_floating_point()) return check_value(option, real->get());
      break;
    case Type::text:
    case Type::choice:
      if (text) return check_value(option, *node.value<std::string>());
      break;
    case Type::list:
      if (text || node.is_array()) return list_value(option, node);
      if (option.pairs && node.is_table()) return pairs_value(option, *node.as_table());
      break;
    case Type::layers:
      if (text || node.is_integer() || node.is_array()) return layers_value(option, node);
      break;
    case Type::size:
      if (text) return parse_value(option, *node.value<std::string>());
      if (const auto* whole = node.as_integer()) return check_value(option, whole->get());
      break;
    case Type::switch_or_path:
      if (const auto* flag = node.as_boolean()) return std::string(flag->get() ? "latest" : "");
      if (text) return parse_value(option, *node.value<std::string>());
      break;
    case Type::any:
      return any_text(node);
  }
  wrong_type(option, node);
}

class Reader {
 public:
  Reader(Command command, const std::filesystem::path& path, Settings& settings)
      : command_(command), path_(path), settings_(settings) {}

  void read(const toml::table& table) {
    for (const auto& [key, node] : in_order(table)) {
      if (key->str() == "datasets") {
        read_datasets(*node);
      } else {
        read_key(std::string(key->str()), *node, key->source().begin.line);
      }
    }
    if (!elsewhere_.empty()) {
      settings_.notes.push_back(fmt::format("{}: options of `lorica train` that `lorica {}` doesn't use: {}",
                                            path_.string(), command_name(command_), join(elsewhere_, ", ")));
    }
  }

 private:
  std::string source(unsigned line, const std::string& key) {
    return fmt::format("{}:{}: {}", path_.string(), line, key);
  }

  void read_key(const std::string& key, const toml::node& node, unsigned line) {
    const Option* row = find_option(key, command_);
    const bool here = row != nullptr;
    if (!here) row = find_option(key, Command::train);
    if (row == nullptr) {
      const auto what =
          node.is_table() ? "unknown section; keys are written without sections" : unknown_option(key, command_);
      settings_.problems.push_back(fmt::format("{}: {}", source(line, key), what));
      return;
    }
    try {
      auto value = node_value(*row, node);
      if (here) {
        settings_.all.push_back({row, replace_all(key, "-", "_"), std::move(value), source(line, key), Level::toml});
      } else {
        elsewhere_.push_back(key);
      }
    } catch (const BadValue& error) {
      settings_.tried.insert(row->name);
      settings_.problems.push_back(fmt::format("{}: {}", source(line, key), error.what()));
    }
  }

  void read_datasets(const toml::node& node) {
    const auto line = node.source().begin.line;
    const auto* tables = node.as_array();
    settings_.tried.insert("dataset");
    if (tables == nullptr || tables->empty()) {
      settings_.problems.push_back(
          fmt::format("{}: expected [[datasets]] tables, got {}", source(line, "datasets"), kind_of(node)));
      return;
    }
    std::vector<std::string> paths;
    for (const auto& entry : *tables) {
      if (const auto* table = entry.as_table()) {
        read_dataset(*table, paths);
      } else {
        settings_.problems.push_back(
            fmt::format("{}: expected a table, got {}", source(entry.source().begin.line, "datasets"), kind_of(entry)));
      }
    }
    if (find_option("dataset", command_) == nullptr) {
      elsewhere_.push_back("datasets");
    } else {
      settings_.all.push_back(
          {&option("dataset"), "datasets", std::move(paths), source(line, "datasets"), Level::toml});
    }
  }

  void read_dataset(const toml::table& table, std::vector<std::string>& paths) {
    bool named = false;
    for (const auto& [key_node, value] : in_order(table)) {
      const std::string key(key_node->str());
      const auto& node = *value;
      const auto line = key_node->source().begin.line;
      if (key == "dataset_path") {
        named = true;
        if (const auto path = node.value<std::string>(); path && node.is_string()) {
          paths.push_back(*path);
        } else {
          settings_.problems.push_back(fmt::format("{}: expected a string, got {}", source(line, key), kind_of(node)));
        }
      } else if (key == "max_tokens" || key == "control_class") {
        if (is_about_training(command_)) read_key(key, node, line);
      } else {
        const auto near = nearest_name(key, {"dataset_path", "max_tokens", "control_class"});
        settings_.problems.push_back(fmt::format("{}: unknown key of [[datasets]]{}", source(line, key),
                                                 near.empty() ? "; known: dataset_path, max_tokens, control_class"
                                                              : fmt::format(" (did you mean {}?)", near)));
      }
    }
    if (!named) {
      settings_.problems.push_back(
          fmt::format("{}: dataset_path is missing", source(table.source().begin.line, "[[datasets]]")));
    }
  }

  Command command_;
  const std::filesystem::path& path_;
  Settings& settings_;
  std::vector<std::string> elsewhere_;
};

}  // namespace

void read_toml(Command command, const std::filesystem::path& path, Settings& settings) {
  const auto content = read_file(path);
  try {
    const toml::table table = toml::parse(content, path.string());
    Reader(command, path, settings).read(table);
  } catch (const toml::parse_error& error) {
    const auto at = error.source().begin;
    settings.problems.push_back(
        fmt::format("{}:{}:{}: not valid TOML: {}", path.string(), at.line, at.column, error.description()));
  }
}

}  // namespace lorica::config
