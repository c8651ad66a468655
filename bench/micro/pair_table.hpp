// What a program prints: a row for each pair, ours beside ATen's.
#pragma once

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "machine_limits.hpp"

namespace lorica::bench {

/// Collects the repetitions of the benchmarks ours/NAME and aten/NAME.
class PairTable : public benchmark::BenchmarkReporter {
 public:
  /// `names`: of the pairs, in the table's order.
  PairTable(const std::vector<std::string>& names, bool processor_time);

  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override;

  /// A line with the limits, and a row for each pair: medians; ATen's time ÷ ours; half the distance between the
  /// extremes as a part of the median, of either side.
  std::string text(const MachineLimits& limits) const;
  bool any_void() const;

 private:
  struct Side {
    std::vector<double> times, rates;  ///< milliseconds; 10⁹ FLOPs or bytes a second
  };
  struct Row {
    std::string name, unit, fault;
    Side ours, aten;
  };
  void add(const Run& run);

  std::vector<Row> rows_;
  bool processor_time_;
};

}  // namespace lorica::bench
