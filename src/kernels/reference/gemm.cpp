// The matrix product's kernel in portable C++.
#include "kernels/gemm_scalar.hpp"

namespace lorica::kernels {

const GemmKernel kGemmReference = gemm_over<ScalarGemm, 4, 4>();

}  // namespace lorica::kernels
