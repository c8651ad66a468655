// Values of options: from text, checked against the option's type, choices and range, and back to text.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "config/option.hpp"

namespace lorica::config {

/// A value that an option doesn't accept; the message doesn't name the option, its catcher does.
struct BadValue : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Text (of a command line) to the option's type, checked. Throws BadValue.
Value parse_value(const Option& option, std::string_view text);

/// A whole number; written with a fraction of nothing ("3.0", "1e3"), too. Other numbers: none.
std::optional<std::int64_t> whole_number(double value);

/// Checks choices and range of a value of the right type and makes choices canonical. A value whose feature is not
/// built throws BadValue("'mlx' is not built yet …").
Value check_value(const Option& option, Value value);

/// y/yes/t/true/on/1 or n/no/f/false/off/0, in any case.
std::optional<bool> parse_bool(std::string_view text);

/// "0:3,7" -> 0 1 2 3 7, sorted, without repetitions. Throws BadValue.
std::vector<std::int64_t> parse_layers(std::string_view text);
std::string layers_text(const std::vector<std::int64_t>& layers);

/// "5GB" (10^9), "512MiB" (2^20), "1000" -> bytes. Throws BadValue.
std::int64_t parse_size(std::string_view text);
std::string size_text(std::int64_t bytes);

/// As TOML writes it: "true", "1e-05", "\"bf16\"", "[\"a\", \"b\"]". Empty for monostate.
std::string toml_text(const Option& option, const Value& value);
/// The same for a reader: strings without quotes, "none" for empty ones.
std::string plain_text(const Option& option, const Value& value);

/// "a whole number", "true or false", … for messages; "integer", "bool", … for the documentation's type column.
std::string type_phrase(const Option& option);
std::string type_word(const Option& option);
/// Accepted values in words: "one of: a, b" or "at least 1"; empty if all of the type are.
std::string accepted_text(const Option& option);

}  // namespace lorica::config
