#include "quant/cuda/dequantize.hpp"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "base/error.hpp"
#include "kernels/cuda/blockwise_4bit.hpp"
#include "kernels/mode.hpp"
#include "quant/kernel_weight.hpp"

namespace lorica::quant::cuda {

bool has_kernel(const at::Tensor& packed) {
  return packed.is_cuda() && kernels::kernel_mode() != kernels::KernelMode::reference;
}

at::Tensor dequantize_4bit(kernels::Code4 code, const at::Tensor& packed, const at::Tensor& absmax, std::int64_t n,
                           std::int64_t block_size, at::ScalarType dtype) {
  const c10::cuda::CUDAGuard guard(packed.device());
  auto out = at::empty({n}, packed.options().dtype(dtype));
  const char* failure = kernels::cuda::dequantize_4bit(
      code, packed.const_data_ptr<std::uint8_t>(), absmax.const_data_ptr<float>(), n, block_size, float_type(dtype),
      out.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream().stream());
  if (failure != nullptr) raise<DeviceError>("dequantizing 4-bit weights on {}: {}", packed.device().str(), failure);
  return out;
}

}  // namespace lorica::quant::cuda
