// The element-wise kernels with AVX-512.
#include "kernels/cpu/lanes_avx512.hpp"
#include "kernels/elementwise_rows.hpp"

namespace lorica::kernels {

const Elementwise kElementwiseAvx512 = elementwise_over<Avx512Lanes>();

}  // namespace lorica::kernels
