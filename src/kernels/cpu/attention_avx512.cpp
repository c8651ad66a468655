// Attention with AVX-512: tiles of 14 × 32, as the matrix product's.
#include "kernels/attention_blocks.hpp"
#include "kernels/cpu/lanes_avx512.hpp"

namespace lorica::kernels {

const AttentionKernel kAttentionAvx512 = AttentionBlocks<Avx512Lanes, kGemmAvx512, 14, 2>::kernel();

}  // namespace lorica::kernels
