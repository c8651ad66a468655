// The limits' inner loops where we have none of the architecture's own.
#include "machine_limits.hpp"

namespace lorica::bench {

double time_multiply_adds(int, bool) {
  return 0;
}

void triad(float* a, const float* b, const float* c, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) a[i] = b[i] + 3 * c[i];
}

void update(float* a, float* b, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) a[i] = b[i] = (a[i] + b[i]) / 2;
}

}  // namespace lorica::bench
