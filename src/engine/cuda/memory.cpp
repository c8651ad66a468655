#include "engine/cuda/memory.hpp"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/cuda/memory_snapshot.h>

#include <cstdint>
#include <optional>

#include "base/error.hpp"
#include "base/strings.hpp"

namespace lorica::engine::cuda {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

const c10::CachingAllocator::Stat& total_of(const c10::CachingAllocator::StatArray& sums) {
  return sums[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
}

}  // namespace

DeviceMemory device_memory(int device) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  DeviceMemory memory;
  std::size_t free = 0, total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  memory.free = free;
  memory.total = total;
  if (!allocator::get()->initialized()) return memory;
  const auto stats = allocator::getDeviceStats(static_cast<c10::DeviceIndex>(device));
  memory.reserved = static_cast<std::uint64_t>(total_of(stats.reserved_bytes).current);
  memory.allocated = static_cast<std::uint64_t>(total_of(stats.allocated_bytes).current);
  memory.peak_allocated = static_cast<std::uint64_t>(total_of(stats.allocated_bytes).peak);
  memory.peak_reserved = static_cast<std::uint64_t>(total_of(stats.reserved_bytes).peak);
  return memory;
}

void limit_memory(int device, std::uint64_t bytes) {
  const auto total = device_memory(device).total;
  if (bytes > total) {
    raise<ConfigError>("device_memory_limit: {} are more than the {} that device {} has", format_bytes(bytes),
                       format_bytes(total), device);
  }
  allocator::setMemoryFraction(static_cast<double>(bytes) / static_cast<double>(total),
                               static_cast<c10::DeviceIndex>(device));
}

void keep_memory_history(bool on) {
  // Without stacks: turning C++ ones into names takes minutes.
  torch::cuda::_record_memory_history(on ? std::optional<std::string>("all") : std::nullopt, std::nullopt,
                                      std::string("all"), SIZE_MAX, /*clearHistory=*/true);
}

std::string memory_history() {
  return torch::cuda::_memory_snapshot_pickled();
}

}  // namespace lorica::engine::cuda
