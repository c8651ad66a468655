// LibTorch's own threads for our kernels.
#pragma once

namespace lorica::engine {

/// From now on parallel_for runs on the OpenMP threads that LibTorch's operations run on, where the build has OpenMP:
/// two sets of threads would wait for each other's cores. For calls from the calling thread.
void use_openmp_threads();

}  // namespace lorica::engine
