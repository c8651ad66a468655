// Training that goes on from an adapter has that adapter's settings: the options for them may not say otherwise.
#pragma once

#include "config/config.hpp"

namespace lorica::engine {

/// If training goes on from an adapter (config.adapter), sets the options that its adapter_config.json decides (rank,
/// alpha, dropout, rsLoRA, target modules, layers, modules saved whole), so that what the run records is what it used.
/// Throws ConfigError naming each option that was asked for with another value. A folder without that file is left to
/// the reader of the weights.
void adopt_adapter_options(config::ParsedConfig& parsed);

}  // namespace lorica::engine
