// What `--recompute auto` means for a run.
#pragma once

#include "config/config.hpp"

namespace lorica::engine {

/// The configuration with `recompute` settled, if it was auto. Without use_gradient_checkpointing: keep. With it: on
/// the CPU `selective`, if what that keeps of a micro-batch of batch_size × context_length tokens is at most an eighth
/// of this process's share of the machine's memory (`processes` of them share it); else `recompute`. Throws what
/// reading config.json throws.
config::Config with_settled_recompute(const config::Config& config, int processes);

}  // namespace lorica::engine
