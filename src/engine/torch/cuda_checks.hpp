// What stands in the way of a CUDA device, in words that say what to do. Decided from facts alone, so that a test needs
// no GPU.
#pragma once

#include <cstdint>
#include <string>

#include "engine/cuda/facts.hpp"
#include "engine/cuda/memory.hpp"

namespace lorica::engine {

/// Throws DeviceError unless `device` can be used. `visible`: CUDA_VISIBLE_DEVICES, or nullptr where it isn't set.
void check_cuda_device(const cuda::Facts& facts, int device, const char* visible);

/// Throws DeviceError where the device has no bfloat16 (compute capability below 8.0).
void check_bfloat16(const cuda::Facts& facts, int device);

/// The device that this process uses: the one asked for (−1: none was); else its own among the processes of this
/// machine; or the first, where the launcher shows each process just one.
int cuda_device_number(const cuda::Facts& facts, std::int64_t asked, int local_rank, const char* visible);

/// What else holds the device's memory: a sentence with a space in front, or "" where it is next to nothing.
std::string memory_held_by_others(const cuda::DeviceMemory& memory);

}  // namespace lorica::engine
