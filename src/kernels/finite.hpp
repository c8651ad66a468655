// Finding values that are not finite (infinity or NaN) at the speed of memory.
#pragma once

#include <cstdint>

#include "kernels/float_type.hpp"

namespace lorica::kernels {

/// Index of the first of n values that is not finite, or -1. Runs on all threads.
std::int64_t first_non_finite(const void* data, FloatType type, std::int64_t n);

}  // namespace lorica::kernels
