// The option table: what an option is called, which values it takes and what it is for. The command line, the TOML
// keys, --help, docs/OPTIONS.md and did-you-mean messages are all made from these rows (table_*.cpp).
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "config/config.hpp"

namespace lorica::config {

/// A value on its way from text to Config. Choices travel as their canonical name, sizes as bytes, layers as "0:31,40".
/// monostate: not set.
using Value = std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::string>>;

enum class Type {
  boolean,
  integer,
  number,
  text,
  choice,          ///< an enumeration of Config
  list,            ///< of strings
  layers,          ///< layer numbers: 7 or "0:31,40"
  size,            ///< bytes, or "5GB", "512MiB"
  switch_or_path,  ///< a boolean or a path (resume)
  any,             ///< not built: taken as it comes
};

/// Commands that an option belongs to, as bits.
using Commands = unsigned;
constexpr Commands command_bit(Command command) {
  return 1U << static_cast<unsigned>(command);
}
inline constexpr Commands kTrain = command_bit(Command::train), kMerge = command_bit(Command::merge),
                          kGenerate = command_bit(Command::generate), kForward = command_bit(Command::forward),
                          kTokenize = command_bit(Command::tokenize), kReport = command_bit(Command::report),
                          kOptions = command_bit(Command::options), kPlan = command_bit(Command::plan);
/// All commands that run a model; all that read data.
inline constexpr Commands kModel = kTrain | kGenerate | kForward, kData = kTrain | kTokenize;

enum class Status {
  built,
  derived,    ///< sets other options (derive.cpp): load_in_4bit, full_fine_tune, bf16, …
  noted,      ///< accepted; a note says what happens instead
  not_built,  ///< known, refused unless the value is one of `inert`
  refused,    ///< the same for what will never be built; `note` says why
};

/// An accepted word. Several may mean the same enumerator: the first is canonical.
struct Choice {
  std::string name = {};
  int value = 0;  ///< the enumerator
  bool built = true;
};

/// How an option's value gets into Config and out of it; without get and set for options that nothing reads.
struct Field {
  Type type = Type::any;
  std::function<Value(const Config&)> get = {};
  std::function<void(Config&, const Value&)> set =
      {};  ///< the value's kind matches `type`; choices as their enumerator
  bool stored() const { return static_cast<bool>(get); }
};

Field of(bool Config::*member);
Field of(std::int64_t Config::*member);
Field of(double Config::*member);
Field of(std::string Config::*member);
Field of(std::vector<std::string> Config::*member);
Field of(std::optional<std::int64_t> Config::*member);
Field of(std::optional<double> Config::*member);
Field layers(std::vector<std::int64_t> Config::*member);
Field size(std::int64_t Config::*member);
Field switch_or_path(std::string Config::*member);
/// An option without a field in Config.
Field none(Type type);

template <class Enum>
requires std::is_enum_v<Enum> Field of(Enum Config::*member) {
  return {Type::choice, [member](const Config& c) -> Value { return static_cast<std::int64_t>(c.*member); },
          [member](Config& c, const Value& v) { c.*member = static_cast<Enum>(std::get<std::int64_t>(v)); }};
}

struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false, high_open = false;  ///< the bound itself is outside
  bool contains(double value) const;
  bool unlimited() const;
  std::string text() const;  ///< "at least 1", "from 0 to 1", "above 0"
};

/// What a condition is about: a configuration whose options are all settled.
struct Circumstances {
  Command command = Command::train;
  const Config& config;
  int processes = 0;  ///< 0: not known yet
};

/// What an option needs to act. Where it doesn't hold, an option that was given is left aside with the reason, or
/// refused if whoever gives it surely means something else.
struct Condition {
  std::string needs = {};  ///< for the documentation: "train_type qlora"
  std::function<bool(const Circumstances&)> holds = {};
  /// Why it doesn't act, after "no effect ": "with train_type {train_type}: nothing is quantized". An option's name in
  /// braces stands for its value.
  std::string otherwise = {};
  bool refuse = false;
};

/// What a setting of another program's option means here.
struct Translation {
  std::vector<std::pair<std::string, std::string>> options = {};  ///< of ours, with their values as text
  std::string problem = {};                                       ///< why it is refused, and what to give
  bool keep = false;                                              ///< it means what it says: nothing to translate
};
/// The value that is given to an option (by its canonical name), or nullptr.
using Lookup = std::function<const Value*(std::string_view name)>;

struct Option {
  std::string name = {};
  /// Other names. "merge:input" is one for that command only. A trailing "!" marks names that only a qlora-pipe-lite
  /// file has: one of them selects that preset.
  std::vector<std::string> aliases = {};
  std::string group = {};
  Commands commands = kTrain;
  Field field = {};
  std::vector<Choice> choices = {};  ///< also for integer, text and list options: the only values accepted
  Range range = {};
  bool commas = false;         ///< list: one text may hold several items, separated by commas
  bool pairs = false;          ///< list: its items are name=value; in TOML a table does as well
  std::string pipe_lite = {};  ///< default in the preset qlora-pipe-lite, as text, where it isn't the field's own
  std::string evolved = {};    ///< the same for qlora-evolved
  Status status = Status::built;
  /// noted: what happens instead; not_built: why or what to use meanwhile (may be empty).
  std::string note = {};
  std::vector<std::string> inert = {};  ///< values that change nothing; the first is shown as the default
  std::function<Translation(const Value&, const Lookup&)> translate = {};
  std::vector<Condition> acts_when = {};  ///< all must hold; none: it always acts
  std::string help = {};

  /// plan foretells a training run: it takes train's options and some of its own.
  bool belongs_to(Command command) const {
    return (commands & (command_bit(command) | (command == Command::plan ? kTrain : 0))) != 0;
  }
  /// Every name that `command` accepts, the canonical one first.
  std::vector<std::string> names(Command command) const;
  /// True if `written` is a name that only qlora-pipe-lite uses.
  bool selects_pipe_lite(std::string_view written) const;
  Value read(const Config& config) const;                ///< choices as names
  void write(Config& config, const Value& value) const;  ///< the inverse
};

/// The first condition of the option that doesn't hold, as "no effect …"; nothing if it can act.
struct Inaction {
  std::string reason;
  bool refuse = false;
};
std::optional<Inaction> inaction(const Option& option, const Circumstances& circumstances);

/// All rows, grouped, in the order of the documentation.
const std::vector<Option>& option_table();
/// By canonical name; raises an internal error if there is none.
const Option& option(std::string_view name);
/// By any name that `command` accepts (hyphens count as underscores), or nullptr.
const Option* find_option(std::string_view name, Command command);

std::string_view preset_name(Preset preset);
/// A Config with the preset's defaults.
Config preset_defaults(Preset preset);

/// The rows of one part of the table; option_table() joins them.
std::vector<Option> run_options();
std::vector<Option> model_options();
std::vector<Option> data_options();
std::vector<Option> training_options();
std::vector<Option> saving_options();
std::vector<Option> distributed_options();
std::vector<Option> profiling_options();
std::vector<Option> command_options();
std::vector<Option> peer_options();

/// The value of `adapter`: a folder, or what Axolotl means by it (train_type lora or qlora).
Translation adapter_or_kind(const Value& value, const Lookup& given);

}  // namespace lorica::config
