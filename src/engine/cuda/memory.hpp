// The memory of a CUDA device: what is held, and a cap on what this process may hold.
#pragma once

#include <cstdint>
#include <string>

namespace lorica::engine::cuda {

struct DeviceMemory {
  std::uint64_t total = 0, free = 0;  ///< of the device; `free` of all programs together
  std::uint64_t reserved = 0;         ///< taken by LibTorch's allocator in this process
  std::uint64_t allocated = 0;        ///< held by tensors
  std::uint64_t peak_allocated = 0;   ///< most that tensors had since the process began
  std::uint64_t peak_reserved = 0;    ///< most that the allocator had taken
};

/// What the driver and the allocator say now.
DeviceMemory device_memory(int device);

/// From now on LibTorch's allocator notes what it takes and gives back, on all devices, or no longer; what it noted
/// before is forgotten.
void keep_memory_history(bool on);

/// What it noted, as the pickle that torch.cuda.memory._dump_snapshot() makes.
std::string memory_history();

/// start() must have been called. From now on this process's tensors get no more than `bytes` of the device. Throws
/// ConfigError where it has less.
void limit_memory(int device, std::uint64_t bytes);

}  // namespace lorica::engine::cuda
