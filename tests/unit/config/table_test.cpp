// Every row of the option table: its names reach its field from the command line and from TOML, its default is what
// Config says, what isn't built is refused by name.
#include <fmt/format.h>

#include <map>
#include <set>

#include "base/strings.hpp"
#include "config/helpers.hpp"
#include "config/option.hpp"
#include "config/value.hpp"

namespace lorica::config::test {
namespace {

constexpr Command kCommands[] = {Command::train,    Command::merge,  Command::generate, Command::forward,
                                 Command::tokenize, Command::report, Command::options};

/// A valid value that is not the default.
std::string sample(const Option& row) {
  const auto current = row.field.stored() ? row.read(Config{}) : Value();
  if (!row.choices.empty()) {
    for (auto choice = row.choices.rbegin(); choice != row.choices.rend(); ++choice) {
      if (choice->built && !(parse_value(row, choice->name) == current)) return choice->name;
    }
  }
  switch (row.field.type) {
    case Type::boolean:
      return current == Value(true) ? "false" : "true";
    case Type::integer:
      for (const int value : {3, 5, 1}) {
        if (row.range.contains(value) && !(current == Value(std::int64_t{value}))) return std::to_string(value);
      }
      break;
    case Type::number:
      for (const double value : {0.25, 0.75, 3.5}) {
        if (row.range.contains(value) && !(current == Value(value))) return fmt::format("{}", value);
      }
      break;
    case Type::layers:
      return "1:3,7";
    case Type::size:
      return "7MB";
    case Type::switch_or_path:
      return "some/folder";
    default:
      return row.name == "partition_method" ? "parameters" : "sample";
  }
  ADD_FAILURE() << "no sample for " << row.name;
  return "";
}

/// stop_on_nan, and choices of which one is built.
bool has_one_value(const Option& row) {
  const auto built = std::count_if(row.choices.begin(), row.choices.end(), [](const Choice& c) { return c.built; });
  return row.name == "stop_on_nan" || built == 1;
}

/// Arguments that make any single option of `command` acceptable.
Words around(Command command, const Option& row) {
  Words leave_out = {row.name};
  if (row.name == "prompts_file") leave_out.push_back("prompt");
  if (row.name == "dataset") leave_out.push_back("input");
  auto words = required(command, leave_out);
  if (find_option("preset", command) != nullptr && row.name != "preset") {
    words.insert(words.end(), {"--preset", "fsdp_qlora"});
  }
  if (row.name == "n_bits" && command == Command::train) words.insert(words.end(), {"--train_type", "lora"});
  return words;
}

Words plus(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

class EveryRow : public WithFolder {};

TEST_F(EveryRow, HasNamesThatNoOtherRowHas) {
  for (const auto command : kCommands) {
    std::map<std::string, std::string> owner;
    for (const auto& row : option_table()) {
      if (!row.belongs_to(command)) continue;
      for (const auto& name : row.names(command)) {
        const auto [entry, is_new] = owner.emplace(name, row.name);
        EXPECT_TRUE(is_new) << name << " is a name of " << entry->second << " and of " << row.name;
        EXPECT_EQ(name.find_first_of("- "), std::string::npos) << name;
      }
    }
  }
}

TEST_F(EveryRow, SaysWhatItIsFor) {
  std::set<std::string> closed_groups;
  std::string group;
  for (const auto& row : option_table()) {
    EXPECT_FALSE(row.help.empty()) << row.name;
    EXPECT_NE(row.commands, 0U) << row.name;
    if (row.group == group) continue;
    EXPECT_TRUE(closed_groups.insert(row.group).second) << "group " << row.group << " is in two places";
    group = row.group;
  }
}

TEST_F(EveryRow, WritesItsOwnFieldOnly) {
  for (const auto& row : option_table()) {
    if (!row.field.stored() || has_one_value(row)) {
      EXPECT_TRUE(row.field.stored() == false || row.name == "stop_on_nan" || row.name == "document_attention")
          << row.name;
      continue;
    }
    Config config;
    const auto value = parse_value(row, sample(row));
    row.write(config, value);
    EXPECT_FALSE(config == Config{}) << row.name;
    for (const auto& other : option_table()) {
      if (!other.field.stored()) continue;
      EXPECT_EQ(other.read(config), other.name == row.name ? value : other.read(Config{}))
          << "after writing " << row.name << ", " << other.name << " is " << plain_text(other, other.read(config));
    }
  }
}

TEST_F(EveryRow, BuiltRowsHaveFieldsAndOthersHaveNone) {
  for (const auto& row : option_table()) EXPECT_EQ(row.status == Status::built, row.field.stored()) << row.name;
}

TEST_F(EveryRow, DefaultsAreAcceptedValues) {
  for (const auto preset : {Preset::fsdp_qlora, Preset::qlora_pipe_lite, Preset::qlora_evolved}) {
    const auto config = preset_defaults(preset);
    for (const auto& row : option_table()) {
      if (row.field.stored()) {
        EXPECT_NO_THROW(check_value(row, row.read(config))) << row.name;
      }
      for (const auto& inert : row.inert) {
        if (inert.empty()) continue;
        EXPECT_NO_THROW(parse_value(row, inert)) << row.name << " " << inert;
      }
    }
  }
}

TEST_F(EveryRow, ReachesItsFieldFromTheCommandLine) {
  for (const auto& row : option_table()) {
    if (!row.field.stored() || has_one_value(row)) continue;
    const auto text = sample(row);
    const auto expected = parse_value(row, text);
    for (const auto command : kCommands) {
      if (!row.belongs_to(command)) continue;
      for (const auto& name : row.names(command)) {
        const auto hyphens = "--" + replace_all(name, "_", "-");
        for (const auto& words : {Words{"--" + name, text}, Words{"--" + name + "=" + text}, Words{hyphens, text}}) {
          SCOPED_TRACE(fmt::format("{} {}", command_name(command), words.front()));
          const auto parsed = parse(command, plus(around(command, row), words));
          EXPECT_EQ(row.read(parsed.config), expected);
          EXPECT_TRUE(parsed.given.contains(row.name));
        }
      }
    }
  }
}

TEST_F(EveryRow, ReachesItsFieldFromToml) {
  for (const auto& row : option_table()) {
    if (!row.field.stored() || has_one_value(row)) continue;
    const auto expected = parse_value(row, sample(row));
    for (const auto command : kCommands) {
      if (!row.belongs_to(command)) continue;
      for (const auto& name : row.names(command)) {
        SCOPED_TRACE(fmt::format("{} {}", command_name(command), name));
        const auto line = fmt::format("{} = {}\n", name, toml_text(row, expected));
        EXPECT_EQ(row.read(toml(line, around(command, row), command).config), expected) << line;
      }
    }
  }
}

TEST_F(EveryRow, OfAWrongTypeInTomlNamesTheLineAndTheTypeExpected) {
  for (const auto& row : option_table()) {
    if (row.field.type == Type::any || !row.belongs_to(Command::train)) continue;
    const auto message = toml_error("\n" + row.name + " = 1979-05-27\n", around(Command::train, row));
    EXPECT_THAT(message, ::testing::HasSubstr("run.toml:2: " + row.name + ": expected " + type_phrase(row) +
                                              ", got a date or time"));
  }
}

TEST_F(EveryRow, NotBuiltIsRefusedByNameUnlessInert) {
  for (const auto& row : option_table()) {
    if (row.status != Status::not_built && row.status != Status::refused) continue;
    const std::string reason = row.status == Status::refused ? "is refused" : "is not built yet";
    ASSERT_FALSE(row.inert.empty()) << row.name;
    std::string other = row.field.type == Type::boolean ? (row.inert.front() == "true" ? "false" : "true") : "17";
    for (const auto& name : row.names(Command::train)) {
      const std::string preset = "--preset=fsdp_qlora";  // whatever the name selects
      EXPECT_THAT(train_error({preset, "--" + name + "=" + other}),
                  ::testing::AllOf(::testing::HasSubstr("--" + name + ": "), ::testing::HasSubstr(reason)));
      for (const auto& inert : row.inert)
        EXPECT_EQ(train_error({preset, "--" + name + "=" + inert}), "") << name << " " << inert;
    }
  }
}

TEST_F(EveryRow, ChoicesThatAreNotBuiltAreRefusedByName) {
  int seen = 0;
  for (const auto& row : option_table()) {
    for (const auto& choice : row.choices) {
      if (choice.built || !row.belongs_to(Command::train)) continue;
      ++seen;
      EXPECT_THAT(
          train_error({"--" + row.name, choice.name}),
          ::testing::HasSubstr(fmt::format("--{}: '{}' is not built yet; use one of: ", row.name, choice.name)));
    }
  }
  EXPECT_GT(seen, 38);
}

TEST_F(EveryRow, WithoutEffectIsNoted) {
  int seen = 0;
  for (const auto& row : option_table()) {
    if (row.status != Status::noted || !row.belongs_to(Command::train)) continue;
    const bool flips = !row.inert.empty() && row.inert.front() == "true";
    const std::string text = row.field.type == Type::boolean ? (flips ? "false" : "true") : "17";
    if (!row.choices.empty()) continue;
    ++seen;
    EXPECT_THAT(train({"--" + row.name + "=" + text}).notes,
                ::testing::Contains(fmt::format("--{} {}: {}", row.name, text, row.note)));
  }
  EXPECT_GT(seen, 10);
}

TEST_F(EveryRow, OutOfRangeSaysTheRange) {
  int seen = 0;
  for (const auto& row : option_table()) {
    if (row.range.unlimited() || !row.belongs_to(Command::train)) continue;
    ++seen;
    EXPECT_THAT(
        train_error({"--" + row.name, "-5"}),
        ::testing::HasSubstr(fmt::format("--{}: -5 is out of range: it must be {}", row.name, row.range.text())));
  }
  EXPECT_GT(seen, 25);
}

TEST(Range, SaysWhatItContains) {
  EXPECT_EQ((Range{.low = 1}).text(), "at least 1");
  EXPECT_EQ((Range{.low = 0, .low_open = true}).text(), "above 0");
  EXPECT_EQ((Range{.low = 0, .high = 1}).text(), "from 0 to 1");
  EXPECT_EQ((Range{.low = 0, .high = 1, .high_open = true}).text(), "from 0 to 1, 1 excluded");
  EXPECT_FALSE((Range{.low = 0, .low_open = true}).contains(0));
  EXPECT_FALSE((Range{.low = 0, .high = 1, .high_open = true}).contains(1));
  EXPECT_TRUE((Range{.low = 0, .high = 1}).contains(1));
}

}  // namespace
}  // namespace lorica::config::test
