// The keys of config.json that no family asked for: which of them are known to decide nothing here, which decide
// numbers (and are refused), and which nobody knows (and are named).
#pragma once

#include "model/architecture.hpp"
#include "model/architecture_config.hpp"

namespace lorica::model {

/// To be called when all that `config` shall decide has been read into `architecture`. Throws ModelError for a key that
/// changes a model's numbers (a soft cap, a multiplier, experts, a window, …), was not read, and is not set to the
/// value that changes nothing. Leaves keys that nobody knows aside in architecture.account.
void account_for_keys(const ConfigReader& config, Architecture& architecture);

}  // namespace lorica::model
