// On other architectures CMake compiles this file instead of the AVX versions. The CPU reports no AVX there, so
// these are never called; they are the reference.
#include "kernels/attention_blocks.hpp"
#include "kernels/blockwise_4bit_impl.hpp"
#include "kernels/elementwise_rows.hpp"
#include "kernels/gemm_scalar.hpp"

namespace lorica::kernels {
namespace {

void quantize(Code4 code, const void* source, FloatType type, std::int64_t n, std::int64_t block_size,
              std::uint8_t* packed, float* absmax) {
  kBlockwise4bitReference.quantize(code, source, type, n, block_size, packed, absmax);
}

void dequantize(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n, std::int64_t block_size,
                FloatType type, void* out) {
  kBlockwise4bitReference.dequantize(code, packed, absmax, n, block_size, type, out);
}

}  // namespace

const Blockwise4bit kBlockwise4bitAvx2{quantize, dequantize};
const Blockwise4bit kBlockwise4bitAvx512{quantize, dequantize};

const Elementwise kElementwiseAvx2 = elementwise_over<ScalarLanes>();
const Elementwise kElementwiseAvx512 = elementwise_over<ScalarLanes>();

const GemmKernel kGemmAvx2 = gemm_over<ScalarGemm, 4, 4>();
const GemmKernel kGemmAvx512 = gemm_over<ScalarGemm, 4, 4>();

const AttentionKernel kAttentionAvx2 = AttentionBlocks<ScalarLanes, kGemmAvx2, 4, 4>::kernel();
const AttentionKernel kAttentionAvx512 = AttentionBlocks<ScalarLanes, kGemmAvx512, 4, 4>::kernel();

}  // namespace lorica::kernels
