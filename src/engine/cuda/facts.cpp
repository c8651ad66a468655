#include "engine/cuda/facts.hpp"

#include <ATen/Context.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

namespace lorica::engine::cuda {

Facts read_facts() {
  Facts facts;
  facts.built = true;
  // Both leave the version 0 where there is none.
  cudaDriverGetVersion(&facts.driver);
  cudaRuntimeGetVersion(&facts.runtime);
  int count = 0;
  if (const auto status = cudaGetDeviceCount(&count); status != cudaSuccess) {
    facts.failure = cudaGetErrorString(status);
    cudaGetLastError();  // clears it: the next one to ask is somebody else
    return facts;
  }
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties{};
    C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    facts.devices.push_back({properties.name, properties.major, properties.minor});
  }
  return facts;
}

std::string identity(int device) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  std::string text;
  for (const char byte : properties.uuid.bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

void start(int device) {
  at::globalContext().lazyInitDevice(at::kCUDA);
  at::globalContext().setAllowTF32CuBLAS(false);
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
}

}  // namespace lorica::engine::cuda
