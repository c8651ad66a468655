// A training run from its configuration to the saved model: data, model, loop, evaluation, checkpoints.
#pragma once

#include "config/config.hpp"

namespace lorica::train {

/// Runs to the end, or until SIGINT/SIGTERM (then the state is saved). Returns the process's exit code. Throws
/// ConfigError, DataError, ModelError, FileError, DeviceError before anything is written where the input is at fault;
/// TrainingError when the loss or a gradient is not finite, naming the step.
int run_training(const config::ParsedConfig& parsed);

}  // namespace lorica::train
