// Changes that make a run fit, cheapest first: those that cost time before those that change what is trained.
#pragma once

#include "engine/plan/plan.hpp"

namespace lorica::engine {

/// Fills plan.remedies with the first few changes (each with all cheaper ones that it needs) that fit, and plan.beyond.
void find_remedies(const config::Config& config, const PlanFigures& figures, Plan& plan);

}  // namespace lorica::engine
