// The element-wise kernels with AVX2 and FMA.
#include "kernels/cpu/lanes_avx2.hpp"
#include "kernels/elementwise_rows.hpp"

namespace lorica::kernels {

const Elementwise kElementwiseAvx2 = elementwise_over<Avx2Lanes>();

}  // namespace lorica::kernels
