// 4-bit weights back to values on an NVIDIA GPU: a word of packed codes in, eight values out, by one thread.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/cuda/blockwise_4bit.hpp"

namespace lorica::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWord = 8;  // values in four bytes; they share an absmax, because block_size is a multiple of 32

/// What each code stands for.
struct Table {
  float values[16];
};

template <class Out>
__device__ Out rounded(float value) {
  return value;
}
template <>
__device__ __nv_bfloat16 rounded<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __half rounded<__half>(float value) {
  return __float2half_rn(value);
}

/// Eight values that are written at once: 16 bytes, or twice 16.
template <class Out>
struct alignas(16) Eight {
  Out values[kWord];
};

/// The table in shared memory: threads of a warp read different codes, and constant memory would serve them in turn.
__device__ void load_table(const Table& table, float* shared) {
  if (threadIdx.x < 16) shared[threadIdx.x] = table.values[threadIdx.x];
  __syncthreads();
}

/// packed [words], out [words] in groups of eight; both aligned to their elements.
template <class Out>
__global__ void dequantize_words(const Table table, const std::uint32_t* packed, const float* absmax,
                                 std::int64_t words, std::int64_t block_size, Eight<Out>* out) {
  __shared__ float values[16];
  load_table(table, values);
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < words; i += stride) {
    const std::uint32_t word = packed[i];
    const float scale = absmax[i * kWord / block_size];
    Eight<Out> eight;
#pragma unroll
    for (int byte = 0; byte < 4; ++byte) {
      const std::uint32_t pair = word >> (8 * byte);  // little-endian: the first byte is the lowest
      eight.values[2 * byte] = rounded<Out>(values[pair >> 4 & 15] * scale);
      eight.values[2 * byte + 1] = rounded<Out>(values[pair & 15] * scale);
    }
    out[i] = eight;
  }
}

/// Values [begin, n), one by one: what is left of whole words, and tensors at odd addresses.
template <class Out>
__global__ void dequantize_values(const Table table, const std::uint8_t* packed, const float* absmax,
                                  std::int64_t begin, std::int64_t n, std::int64_t block_size, Out* out) {
  __shared__ float values[16];
  load_table(table, values);
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = begin + std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) {
    const int byte = packed[i / 2];
    out[i] = rounded<Out>(values[i % 2 == 0 ? byte >> 4 : byte & 15] * absmax[i / block_size]);
  }
}

unsigned blocks_for(std::int64_t threads) {
  return static_cast<unsigned>(std::min<std::int64_t>((threads + kThreads - 1) / kThreads, 1 << 20));
}

bool is_aligned(const void* pointer, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

template <class Out>
void launch(const Table& table, const std::uint8_t* packed, const float* absmax, std::int64_t n,
            std::int64_t block_size, void* out, cudaStream_t stream) {
  const bool wide = is_aligned(packed, sizeof(std::uint32_t)) && is_aligned(out, alignof(Eight<Out>));
  const std::int64_t words = wide ? n / kWord : 0;
  if (words > 0) {
    dequantize_words<Out>
        <<<blocks_for(words), kThreads, 0, stream>>>(table, reinterpret_cast<const std::uint32_t*>(packed), absmax,
                                                     words, block_size, static_cast<Eight<Out>*>(out));
  }
  const std::int64_t rest = words * kWord;
  if (rest < n) {
    dequantize_values<Out><<<blocks_for(n - rest), kThreads, 0, stream>>>(table, packed, absmax, rest, n, block_size,
                                                                          static_cast<Out*>(out));
  }
}

}  // namespace

const char* dequantize_4bit(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n,
                            std::int64_t block_size, FloatType type, void* out, void* stream) {
  Table table;
  std::copy(code4_values(code).begin(), code4_values(code).end(), table.values);
  const auto queue = static_cast<cudaStream_t>(stream);
  switch (type) {
    case FloatType::f32:
      launch<float>(table, packed, absmax, n, block_size, out, queue);
      break;
    case FloatType::bf16:
      launch<__nv_bfloat16>(table, packed, absmax, n, block_size, out, queue);
      break;
    case FloatType::f16:
      launch<__half>(table, packed, absmax, n, block_size, out, queue);
      break;
  }
  const auto status = cudaGetLastError();
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

}  // namespace lorica::kernels::cuda
