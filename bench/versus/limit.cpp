// What the cores can do at best (limit.hpp).
// Usage: limit THREADS. Prints a line of JSON: GFLOP/s over all threads, the best of several turns (0: no such
// instruction).
// limit THREADS SECONDS avx2|float32: of that alone, the mean over that time, which a boost of some milliseconds
// doesn't raise.
#include "limit.hpp"

#include <cstdio>
#include <cstdlib>
#include <string_view>

int main(int count, char** arguments) {
  using namespace limit;
  const int threads = count > 1 ? std::atoi(arguments[1]) : 1;
  const bool avx512 = __builtin_cpu_supports("avx512f"), bf16 = __builtin_cpu_supports("avx512bf16");
  if (count > 3) {
    const bool wide = avx512 && std::string_view(arguments[3]) == "float32";
    std::printf("%.1f\n", mean(wide ? fma_avx512 : fma_avx2, threads, std::atof(arguments[2])));
    return 0;
  }
  const double avx2 = best(fma_avx2, threads);
  std::printf("{\"avx2\": %.1f, \"float32\": %.1f, \"bfloat16\": %.1f}\n", avx2,
              avx512 ? best(fma_avx512, threads) : avx2, bf16 ? best(dot_bf16, threads) : 0.0);
}
