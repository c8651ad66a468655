// The blocked algorithm behind kernels/gemm.hpp. Internal to kernels/.
#pragma once

#include "kernels/gemm.hpp"

namespace lorica::kernels {

/// The shapes have been checked, m > 0, every column has n > 0 and at least one block that isn't zero.
void run_blocked(const BlockProduct& product);

}  // namespace lorica::kernels
