// An Accelerate configuration (the YAML that `accelerate config` writes, FSDP version 1 or 2) to settings, below TOML
// and command line.
#pragma once

#include <filesystem>

#include "config/settings.hpp"

namespace lorica::config {

/// Reads the file and adds its settings at Level::accelerate, a note for each key that becomes one of our options, and
/// one for those that ask for nothing. What Lorica can't honour (DeepSpeed, Megatron-LM, TPUs, fp8, tensor parallelism)
/// and unknown keys are problems. A file that can't be read throws FileError. Key names and values are those of
/// Accelerate 1.x's ClusterConfig and FullyShardedDataParallelPlugin.
void read_accelerate(Command command, const std::filesystem::path& path, Settings& settings);

}  // namespace lorica::config
