// Numbers in sentences for people: counts with their nouns, per cents, changes. One place for plurals and signs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lorica {

/// "step" for 1 (and −1), else "steps"; also "processes", "batches", "entries".
std::string noun_for(std::int64_t count, std::string_view noun);

/// "1 step", "1,234 steps", "0 processes".
std::string counted(std::int64_t count, std::string_view noun);

/// "12.5 %" of a share of 0.125 with one digit; a value that rounds to nothing has no sign ("0.0 %", never "-0.0 %").
std::string percent(double share, int digits);

/// How `now` differs from `before`: "+3.10 %", "-25.00 %", "0.00 %"; "?" where that isn't a number.
std::string percent_change(double before, double now);

}  // namespace lorica
