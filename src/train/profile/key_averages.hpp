// What a recording says in figures: which names took the most time of their own, and in which stacks.
#pragma once

#include <string>

#include "engine/recorder.hpp"

namespace lorica::train {

/// The 25 names with the largest self time (that of their spans without the spans inside them), and the sum over all.
/// With shapes, a name counts once for each. What ran on a device has a table of its own.
std::string key_averages(const engine::Recording& recording, const std::string& title);

/// A line for each stack of spans, "step 3;layer 0: forward;aten::mul 120": its self time in whole microseconds, at
/// least one. Flame-graph programs read it.
std::string folded_stacks(const engine::Recording& recording);

}  // namespace lorica::train
