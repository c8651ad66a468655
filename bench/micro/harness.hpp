// A kernel beside the ATen composition of the same thing: checked against each other, timed in turn, in one table with
// the machine's limits.
//
// Usage of every program: NAME_bench [--threads N] [--kernels auto|avx512|avx2|reference] [Google Benchmark's options].
// Repetitions are interleaved in random order, turns of the limits between them; medians count. With one thread its
// processor time is measured, so that other programs on the machine matter less; with more, the time on the wall. With
// avx2, ATen, oneDNN and MKL are held to AVX2, too. The exit code is 1 if a pair's results differ.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "machine_limits.hpp"

namespace lorica::bench {

/// What a call takes by mathematics, whoever computes it: FLOPs where the cores are the limit, else bytes, each array
/// read or written once.
struct Work {
  double flops = 0, bytes = 0;
};

/// How far ours may be from ATen's, per tensor: |difference| ≤ largest · max |ATen's| + each · |ATen's|, but for a
/// share of the elements.
struct Tolerance {
  double largest = 0, each = 0;
  double others = 0;
};

/// Calls that return the same tensors. They may work in place: results are compared once, after one call of each.
struct Pair {
  std::function<std::vector<at::Tensor>()> ours, aten;
  Tolerance tolerance;
};

/// A pair that is made and checked when it is first needed.
class Case {
 public:
  Case(std::string name, Work work, std::function<Pair()> make)
      : name(std::move(name)), work(work), make_(std::move(make)) {}

  const Pair* pair();                                  ///< null if it is void
  const std::string& fault() const { return fault_; }  ///< why it is void; empty if it isn't, or hasn't been needed

  const std::string name;
  const Work work;

 private:
  std::function<Pair()> make_;
  std::optional<Pair> pair_;
  std::string fault_;
};

/// The pairs of a program.
class Suite {
 public:
  explicit Suite(LimitMeter& meter) : meter_(meter) {}

  /// Registers the benchmarks ours/NAME and aten/NAME. `make` is called when the first of them runs.
  void add(const std::string& name, Work work, std::function<Pair()> make);
  const std::vector<std::shared_ptr<Case>>& cases() const { return cases_; }

 private:
  LimitMeter& meter_;
  std::vector<std::shared_ptr<Case>> cases_;
};

/// The body of main. `add_pairs` is called once threads and kernels are chosen.
int run_pairs(int count, char** arguments, const std::function<void(Suite&)>& add_pairs);

constexpr double kFloatEpsilon = 0x1p-24, kBrainEpsilon = 0x1p-9;  ///< of one rounding to nearest

/// A sum of `terms` of either sign in float32, in two orders: its roundings add up like a random walk, each within
/// epsilon of a partial sum that is seldom above the largest result. 4: for both sides, and to spare.
Tolerance tolerance_of_sum(std::int64_t terms);

}  // namespace lorica::bench
