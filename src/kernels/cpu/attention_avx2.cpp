// Attention with AVX2 and FMA: tiles of 6 × 16, as the matrix product's.
#include "kernels/attention_blocks.hpp"
#include "kernels/cpu/lanes_avx2.hpp"

namespace lorica::kernels {

const AttentionKernel kAttentionAvx2 = AttentionBlocks<Avx2Lanes, kGemmAvx2, 6, 2>::kernel();

}  // namespace lorica::kernels
