// The element-wise kernels in portable C++, one float at a time.
#include "kernels/elementwise_rows.hpp"

namespace lorica::kernels {

const Elementwise kElementwiseReference = elementwise_over<ScalarLanes>();

}  // namespace lorica::kernels
