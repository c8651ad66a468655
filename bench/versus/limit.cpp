// What the cores can do at best: multiply-adds in float32 and dot products of bfloat16, with nothing but registers.
// Usage: limit THREADS. Prints a line of JSON: GFLOP/s over all threads, the best of several turns (0: no such
// instruction). Every thread runs 12 to 16 independent chains, more than latency times throughput of any x86 core.
// limit THREADS SECONDS avx2|float32: of that alone, the mean over that time, which a boost of some milliseconds
// doesn't raise.
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr long kTurns = 4'000'000;

__attribute__((target("avx2,fma"))) double fma_avx2() {
  constexpr int kChains = 12;
  __m256 sum[kChains];
  for (auto& x : sum) x = _mm256_set1_ps(1e-9f);
  const __m256 a = _mm256_set1_ps(1.0000001f), b = _mm256_set1_ps(1e-9f);
  for (long i = 0; i < kTurns; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      sum[j] = _mm256_fmadd_ps(a, sum[j], b);
      asm volatile("" ::"x"(sum[j]));
    }
  }
  return 16.0 * kChains * kTurns;
}

__attribute__((target("avx512f"))) double fma_avx512() {
  constexpr int kChains = 16;
  __m512 sum[kChains];
  for (auto& x : sum) x = _mm512_set1_ps(1e-9f);
  const __m512 a = _mm512_set1_ps(1.0000001f), b = _mm512_set1_ps(1e-9f);
  for (long i = 0; i < kTurns; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) {
      sum[j] = _mm512_fmadd_ps(a, sum[j], b);
      asm volatile("" ::"v"(sum[j]));
    }
  }
  return 32.0 * kChains * kTurns;
}

__attribute__((target("avx512f,avx512bf16"))) double dot_bf16() {
  constexpr int kChains = 16;
  __m512 sum[kChains];
  for (auto& x : sum) x = _mm512_set1_ps(1e-9f);
  const auto one = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80));
  for (long i = 0; i < kTurns; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) {
      sum[j] = _mm512_dpbf16_ps(sum[j], one, one);
      asm volatile("" ::"v"(sum[j]));
    }
  }
  return 64.0 * kChains * kTurns;
}

double best(double (*work)(), int threads) {
  double result = 0;
  for (int turn = 0; turn < 7; ++turn) {
    std::vector<double> flops(static_cast<std::size_t>(threads));
    std::vector<std::thread> others;
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 1; i < flops.size(); ++i) others.emplace_back([&, i] { flops[i] = work(); });
    flops[0] = work();
    for (auto& other : others) other.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    double sum = 0;
    for (const double each : flops) sum += each;
    result = std::max(result, sum / seconds / 1e9);
  }
  return result;
}

double mean(double (*work)(), int threads, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto since = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  std::vector<double> flops(static_cast<std::size_t>(threads));
  std::vector<std::thread> all;
  for (auto& each : flops) {
    all.emplace_back([&] {
      double done = 0;
      while (since() < seconds) done += work();
      each = done / since();
    });
  }
  for (auto& thread : all) thread.join();
  double sum = 0;
  for (const double each : flops) sum += each;
  return sum / 1e9;
}

}  // namespace

int main(int count, char** arguments) {
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
