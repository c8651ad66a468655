#include "engine/torch/cuda_checks.hpp"

#include <fmt/format.h>

#include <vector>

#include "base/error.hpp"
#include "base/strings.hpp"

namespace lorica::engine {
namespace {

std::string version(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

std::string list_of(const cuda::Facts& facts) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < facts.devices.size(); ++i)
    names.push_back(fmt::format("{}: {}", i, facts.devices[i].name));
  return join(names, ", ");
}

}  // namespace

void check_cuda_device(const cuda::Facts& facts, int device, const char* visible) {
  if (!facts.built) {
    throw DeviceError(
        "--backend cuda: this build has no CUDA. Use --backend cpu, or build with LORICA_CUDA=on, which says what it "
        "lacks.");
  }
  if (facts.driver == 0) {
    raise<DeviceError>(
        "--backend cuda: no NVIDIA driver is loaded on this machine. Install one that runs CUDA {}, or use --backend "
        "cpu.",
        version(facts.runtime));
  }
  if (facts.driver / 1000 < facts.runtime / 1000) {
    raise<DeviceError>(
        "--backend cuda: the NVIDIA driver is too old: it runs CUDA up to {}, and this build needs {}. Update the "
        "driver, or build on a torch made for CUDA {}.",
        version(facts.driver), version(facts.runtime), facts.driver / 1000);
  }
  if (facts.devices.empty()) {
    const auto hidden = visible == nullptr
                            ? std::string()
                            : fmt::format(" CUDA_VISIBLE_DEVICES is \"{}\", which may hide them.", visible);
    raise<DeviceError>("--backend cuda: no CUDA device is visible{}.{} Or use --backend cpu.",
                       facts.failure.empty() ? "" : " (" + facts.failure + ")", hidden);
  }
  if (device < 0 || device >= static_cast<int>(facts.devices.size())) {
    raise<DeviceError>("device {}: there is no such CUDA device; visible {} {}", device,
                       facts.devices.size() == 1 ? "is" : "are", list_of(facts));
  }
}

void check_bfloat16(const cuda::Facts& facts, int device) {
  const auto& here = facts.devices.at(static_cast<std::size_t>(device));
  if (here.major >= 8) return;
  raise<DeviceError>(
      "device {} ({}, compute capability {}.{}) has no bfloat16, which begins with 8.0; fp16 is the 16-bit dtype "
      "there, in which Lorica doesn't train yet. Use --precision fp32.",
      device, here.name, here.major, here.minor);
}

int cuda_device_number(const cuda::Facts& facts, std::int64_t asked, int local_rank, const char* visible) {
  if (asked >= 0) return static_cast<int>(asked);
  return facts.devices.size() == 1 && visible != nullptr ? 0 : local_rank;
}

std::string memory_held_by_others(const cuda::DeviceMemory& memory) {
  // CUDA's own part (code, queues) is a few hundred megabytes.
  constexpr std::uint64_t kOwn = std::uint64_t{1} << 30;
  const auto used = memory.total - memory.free;
  if (used <= memory.reserved + kOwn) return "";
  return fmt::format(" Other programs hold about {} of the device's {}: nvidia-smi lists them.",
                     format_bytes(used - memory.reserved), format_bytes(memory.total));
}

}  // namespace lorica::engine
