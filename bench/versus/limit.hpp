// Multiply-adds in float32 and dot products of bfloat16 with nothing but registers, on x86: what the cores can do at
// best. Every thread runs 12 to 16 independent chains, more than latency times throughput of any x86 core.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

namespace limit {

inline constexpr long kTurns = 4'000'000;

/// Each does FLOPs in this thread and says how many.
__attribute__((target("avx2,fma"))) inline double fma_avx2() {
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

__attribute__((target("avx512f"))) inline double fma_avx512() {
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

__attribute__((target("avx512f,avx512bf16"))) inline double dot_bf16() {
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

/// GFLOP/s over all threads, the best of some turns of about 10 ms.
inline double best(double (*work)(), int threads, int turns = 7) {
  double result = 0;
  for (int turn = 0; turn < turns; ++turn) {
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

/// GFLOP/s over all threads, the mean over that time.
inline double mean(double (*work)(), int threads, double seconds) {
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

}  // namespace limit
