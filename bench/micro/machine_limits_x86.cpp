// The limits' inner loops on x86.
#include "base/machine.hpp"
#include "machine_limits.hpp"
#include "versus/limit.hpp"

namespace lorica::bench {

double time_multiply_adds(int threads, bool avx2) {
  const auto& cpu = cpu_features();
  if (!cpu.avx2) return 0;
  return 1e9 * limit::best(cpu.avx512 && !avx2 ? limit::fma_avx512 : limit::fma_avx2, threads, 1);
}

void triad(float* a, const float* b, const float* c, std::int64_t count) {
  const __m128 factor = _mm_set1_ps(3);
  for (std::int64_t i = 0; i < count; i += 4) {
    _mm_stream_ps(a + i, _mm_add_ps(_mm_load_ps(b + i), _mm_mul_ps(factor, _mm_load_ps(c + i))));
  }
  _mm_sfence();
}

void update(float* a, float* b, std::int64_t count) {
  const __m128 half = _mm_set1_ps(0.5f);
  for (std::int64_t i = 0; i < count; i += 4) {
    const __m128 middle = _mm_mul_ps(half, _mm_add_ps(_mm_load_ps(a + i), _mm_load_ps(b + i)));
    _mm_store_ps(a + i, middle);
    _mm_store_ps(b + i, middle);
  }
}

}  // namespace lorica::bench
