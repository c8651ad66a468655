// Small things that the processes of a group tell each other.
#pragma once

#include <string>
#include <vector>

#include "parallel/process_group.hpp"

namespace lorica::parallel {

/// Everybody's text (any bytes), by rank. Collective.
std::vector<std::string> all_gather_text(ProcessGroup& group, const std::string& text);

}  // namespace lorica::parallel
