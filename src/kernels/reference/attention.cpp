// Attention in portable C++, one float at a time.
#include "kernels/attention_blocks.hpp"
#include "kernels/lanes_scalar.hpp"

namespace lorica::kernels {

const AttentionKernel kAttentionReference = AttentionBlocks<ScalarLanes, kGemmReference, 4, 4>::kernel();

}  // namespace lorica::kernels
