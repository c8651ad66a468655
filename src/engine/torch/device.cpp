// Which device and which dtypes a configuration means on this machine.
#include <ATen/ATen.h>

#include <cstdlib>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/machine.hpp"
#include "base/strings.hpp"
#include "engine/cuda/facts.hpp"
#include "engine/cuda/memory.hpp"
#include "engine/torch/cuda_checks.hpp"
#include "engine/torch/model_builder.hpp"
#include "quant/dtype_name.hpp"

namespace lorica::engine {
namespace {

/// None: automatic.
std::optional<at::ScalarType> dtype_of(config::DataType type) {
  switch (type) {
    case config::DataType::float32:
      return at::kFloat;
    case config::DataType::bfloat16:
      return at::kBFloat16;
    case config::DataType::float16:
      return at::kHalf;
    case config::DataType::automatic:
      break;
  }
  return std::nullopt;
}

}  // namespace

at::Device choose_device(const config::Config& config, const parallel::Place* place) {
  const bool mps = at::hasMPS();
  if (config.backend == config::Backend::cpu) return at::kCPU;
  if (config.backend == config::Backend::mps) {
    if (!mps)
      throw DeviceError("--backend mps: this machine has no Apple GPU that LibTorch can use. Use --backend cpu.");
    return at::Device(at::kMPS, 0);
  }
  // The name is CUDA's own.
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const auto facts = cuda::read_facts();
  if (config.backend == config::Backend::automatic && facts.devices.empty())
    return mps ? at::Device(at::kMPS, 0) : at::kCPU;
  const int local_rank = place != nullptr ? place->local_rank : parallel::find_place(config).local_rank;
  const int number = cuda_device_number(facts, config.device, local_rank, visible);
  check_cuda_device(facts, number, visible);
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(number));
}

void check_device_options(const config::Config& config, at::Device device) {
  if (!device.is_cuda()) {
    if (config.device_memory_limit > 0) {
      raise<ConfigError>("device_memory_limit: it caps a CUDA device, but this run is on {}", device.str());
    }
    if (config.device >= 0) raise<ConfigError>("device: it chooses a CUDA device, but this run is on {}", device.str());
    return;
  }
  if (compute_dtype(config, device) == at::kBFloat16) check_bfloat16(cuda::read_facts(), device.index());
}

void start_device(const config::Config& config, at::Device device) {
  check_device_options(config, device);
  if (!device.is_cuda()) return;
  cuda::start(device.index());
  if (config.device_memory_limit > 0) {
    cuda::limit_memory(device.index(), static_cast<std::uint64_t>(config.device_memory_limit));
  }
}

at::ScalarType storage_dtype(const config::Config& config) {
  switch (config.precision) {
    case config::Precision::fp32:
    case config::Precision::bf16_autocast:
    case config::Precision::mp_bf16_autocast:
      return at::kFloat;
    default:
      return at::kBFloat16;
  }
}

at::ScalarType adapter_dtype(const config::Config& config) {
  return dtype_of(config.lora_weight_dtype).value_or(at::kFloat);
}

std::optional<at::ScalarType> reduce_dtype(const config::Config& config) {
  if (const auto asked = dtype_of(config.reduce_dtype)) return asked;
  switch (config.precision) {
    case config::Precision::bf16_autocast:
      return at::kFloat;
    case config::Precision::bf16_buffers_autocast:
    case config::Precision::mp_bf16_autocast:
    case config::Precision::mp_bf16_buffers_autocast:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

namespace {

/// A CPU without bfloat16 instructions multiplies bfloat16 several times slower than float32, and no more precisely.
bool multiplies_bfloat16(const config::Config& config, at::Device device) {
  const auto& cpu = cpu_features();
  return !device.is_cpu() || ((cpu.avx512_bf16 || cpu.amx_bf16) && config.kernels != config::Kernels::avx2);
}

}  // namespace

at::ScalarType compute_dtype(const config::Config& config, at::Device device) {
  if (const auto asked = dtype_of(config.compute_dtype)) return *asked;
  if (config.precision == config::Precision::fp32) return at::kFloat;
  if (!multiplies_bfloat16(config, device)) return at::kFloat;
  if (device.is_mps()) return at::kFloat;
  return at::kBFloat16;
}

void report_precision(const config::Config& config, at::Device device) {
  const bool fast = multiplies_bfloat16(config, device);
  const auto compute = compute_dtype(config, device);
  if (compute == at::kBFloat16 && !fast) {
    spdlog::warn(
        "compute_dtype bfloat16: {} has no bfloat16 instructions, so products take several times as long as in "
        "float32; compute_dtype auto would compute in float32",
        cpu_name());
  } else if (compute == at::kFloat && config.compute_dtype == config::DataType::automatic &&
             config.precision != config::Precision::fp32) {
    spdlog::info("precision {}: {} {}, so products are computed in float32{}", config::name_of(config.precision),
                 device.is_cpu() ? cpu_name() : device.str(),
                 device.is_mps() ? "computes in float32" : "has no bfloat16 instructions",
                 storage_dtype(config) == at::kBFloat16 ? "; what is stored stays bfloat16" : "");
  }
}

bool keeps_narrow(const config::Config& config, at::Device device) {
  return config.precision != config::Precision::fp32 && compute_dtype(config, device) == at::kFloat;
}

}  // namespace lorica::engine
