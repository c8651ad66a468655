// Stands in for dequantize.cpp in a build without CUDA.
#include "base/error.hpp"
#include "quant/cuda/dequantize.hpp"

namespace lorica::quant::cuda {

bool has_kernel(const at::Tensor&) {
  return false;
}

at::Tensor dequantize_4bit(kernels::Code4, const at::Tensor&, const at::Tensor&, std::int64_t, std::int64_t,
                           at::ScalarType) {
  throw Error("internal error: this build has no CUDA kernels");
}

}  // namespace lorica::quant::cuda
