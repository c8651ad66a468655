// Compiled with OpenMP, alone of all files. (at::parallel_for is no way there: it is a template in LibTorch's headers,
// and without OpenMP in the file that includes them it runs everything on the calling thread.)
#include "engine/torch/openmp_threads.hpp"

#include "base/parallel.hpp"

namespace lorica::engine {

void use_openmp_threads() {
#if defined(_OPENMP)
  set_parallel_runner([](int threads, const std::function<void()>& work) {
#pragma omp parallel num_threads(threads)
    work();
  });
#endif
}

}  // namespace lorica::engine
