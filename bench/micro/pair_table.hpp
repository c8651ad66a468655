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
  explicit PairTable(bool processor_time) : processor_time_(processor_time) {}

  void add_row(const std::string& name) { rows_.push_back({name, {}, {}, {}, {}}); }
  void mark_void(const std::string& name, const std::string& fault) { row(name).fault = fault; }
  bool empty() const;  ///< no row has anything to tell

  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override;

  /// A line with the limits, and a row for each pair: medians; ATen's time ÷ ours; half the distance between the
  /// extremes as a part of the median, of either side.
  std::string text(const MachineLimits& limits) const;

 private:
  struct Side {
    std::vector<double> times, rates;  ///< milliseconds; 10⁹ FLOPs or bytes a second
  };
  struct Row {
    std::string name, unit, fault;
    Side ours, aten;
  };
  Row& row(const std::string& name);
  void add(const Run& run);

  std::vector<Row> rows_;
  bool processor_time_;
};

}  // namespace lorica::bench
