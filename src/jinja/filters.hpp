// The two halves of the filters. Source: https://jinja.palletsprojects.com/en/stable/templates/#list-of-builtin-filters
#pragma once

#include <string_view>
#include <vector>

#include "jinja/machine.hpp"

namespace lorica::jinja {

/// Those that give one text or number.
Native find_scalar_filter(std::string_view name);
/// Those that take or give several elements.
Native find_sequence_filter(std::string_view name);

/// value.a.b for the path "a.b" or a place; `fallback` (may be null) where that is undefined.
Value at_path(const Value& value, const Value& path, const Value* fallback, Budget& budget);
/// Arguments without the first `count` positional ones.
Arguments behind(const Arguments& arguments, std::size_t count);

}  // namespace lorica::jinja
