// Everything in kernels/: free functions over raw pointers and sizes, each with a portable reference and CPU versions
// picked at run time. They know nothing of tensors; results do not depend on the number of threads.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/blockwise_4bit.hpp"
#include "kernels/blockwise_8bit.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/finite.hpp"
#include "kernels/float_type.hpp"
#include "kernels/gemm.hpp"
#include "kernels/mode.hpp"
