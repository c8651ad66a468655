// Which device and which dtypes a configuration means on this machine.
#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include "base/error.hpp"
#include "base/machine.hpp"
#include "engine/torch/model_builder.hpp"

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

at::Device choose_device(const config::Config& config) {
  const bool cuda = at::hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0;
  const bool mps = at::hasMPS();
  switch (config.backend) {
    case config::Backend::cpu:
      return at::kCPU;
    case config::Backend::cuda:
      if (!at::hasCUDA()) {
        throw DeviceError(
            "--backend cuda: this build's LibTorch has no CUDA. Use --backend cpu, or build against a CUDA torch.");
      }
      if (!cuda)
        throw DeviceError(
            "--backend cuda: no CUDA device is visible (driver missing, or CUDA_VISIBLE_DEVICES is empty).");
      return at::Device(at::kCUDA, 0);
    case config::Backend::mps:
      if (!mps)
        throw DeviceError("--backend mps: this machine has no Apple GPU that LibTorch can use. Use --backend cpu.");
      return at::Device(at::kMPS, 0);
    case config::Backend::automatic:
      break;
  }
  if (cuda) return at::Device(at::kCUDA, 0);
  if (mps) return at::Device(at::kMPS, 0);
  return at::kCPU;
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

at::ScalarType compute_dtype(const config::Config& config, at::Device device) {
  if (const auto asked = dtype_of(config.compute_dtype)) return *asked;
  if (config.precision == config::Precision::fp32) return at::kFloat;
  // A CPU without bfloat16 instructions multiplies bfloat16 several times slower than float32, and no more precisely.
  const auto& cpu = cpu_features();
  const bool multiplies_bf16 = (cpu.avx512_bf16 || cpu.amx_bf16) && config.kernels != config::Kernels::avx2;
  if (device.is_cpu() && !multiplies_bf16) return at::kFloat;
  if (device.is_mps()) return at::kFloat;
  return at::kBFloat16;
}

bool keeps_narrow(const config::Config& config, at::Device device) {
  return config.precision != config::Precision::fp32 && compute_dtype(config, device) == at::kFloat;
}

}  // namespace lorica::engine
