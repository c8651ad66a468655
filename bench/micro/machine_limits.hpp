// What this machine does at best, measured in the same run as the kernels: the frame in which their figures stand.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace lorica::bench {

/// A second, over all threads; 0: not measured.
struct MachineLimits {
  double flops = 0;  ///< float32 multiply-adds that never leave the registers
  double bytes = 0;  ///< read and written, over arrays of 128 MiB
};

/// Takes short turns, between the benchmarks, too. Of each kind the 90th percentile counts: where others use the
/// machine, too, many turns are slow, and a few are luckier than a kernel can hope to be.
class LimitMeter {
 public:
  /// `avx2`: multiply-adds with nothing beyond AVX2. Memory is measured on thread_count() threads.
  LimitMeter(int threads, bool avx2);

  void multiply_add();  ///< about 10 ms; without effect where machine_limits_portable.cpp is in use
  void stream();        ///< about 20 ms at 40 GB/s

  MachineLimits limits() const;

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  using Array = std::unique_ptr<float, Free>;
  static Array make_array();

  int threads_;
  bool avx2_;
  Array a_, b_, c_;
  std::vector<double> flops_, bytes_;  ///< of the turns
};

// machine_limits_x86.cpp or machine_limits_portable.cpp:

/// FLOP/s of one turn; 0: unknown.
double time_multiply_adds(int threads, bool avx2);
/// The arrays lie at multiples of 64 bytes, `count` is a multiple of 16.
/// a = b + 3 · c, STREAM's triad (https://www.cs.virginia.edu/stream/), written past the caches where the architecture
/// can: an ordinary store reads the line first, which the 12 bytes an element wouldn't count.
void triad(float* a, const float* b, const float* c, std::int64_t count);
/// a = b = (a + b) / 2: as much written as read, 16 bytes an element.
void update(float* a, float* b, std::int64_t count);

}  // namespace lorica::bench
