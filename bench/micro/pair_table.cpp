// Repetitions to medians, medians to a table.
#include "pair_table.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace lorica::bench {
namespace {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double spread(const std::vector<double>& values) {
  if (values.empty()) return 0;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return (*most - *least) / 2 / median(values);
}

constexpr const char* kFlops = "GFLOP/s";

}  // namespace

PairTable::Row& PairTable::row(const std::string& name) {
  return *std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) { return row.name == name; });
}

void PairTable::add(const Run& run) {
  const auto& benchmark = run.run_name.function_name;
  auto& row = this->row(benchmark.substr(benchmark.find('/') + 1));
  for (const auto& [key, counter] : run.counters) {  // none if it is void
    if (key == "share") continue;                    // of the limit as it was known by then
    auto& side = benchmark.starts_with("ours/") ? row.ours : row.aten;
    side.times.push_back(processor_time_ ? run.GetAdjustedCPUTime() : run.GetAdjustedRealTime());
    side.rates.push_back(counter.value);
    row.unit = key;
  }
}

void PairTable::ReportRuns(const std::vector<Run>& runs) {
  for (const auto& run : runs) {
    if (run.run_type == Run::RT_Iteration) add(run);
  }
}

bool PairTable::empty() const {
  return std::all_of(rows_.begin(), rows_.end(), [](const Row& row) {
    return row.fault.empty() && row.ours.times.empty() && row.aten.times.empty();
  });
}

std::string PairTable::text(const MachineLimits& limits) const {
  std::size_t width = 0;
  for (const auto& row : rows_) width = std::max(width, row.name.size());
  const auto side = [&](const Side& s, const std::string& unit) {
    if (s.times.empty()) return std::string(37, ' ');
    const double rate = median(s.rates), limit = 1e-9 * (unit == kFlops ? limits.flops : limits.bytes);
    return fmt::format("{:>9.3f} ms {:>8.1f} {:<7} {:>6}  ", median(s.times), rate, unit,
                       limit > 0 ? fmt::format("{:.0f} %", 100 * rate / limit) : "");
  };
  std::string text = "limits:";
  if (limits.flops > 0) text += fmt::format(" {:.0f} {}", limits.flops * 1e-9, kFlops);
  if (limits.bytes > 0) text += fmt::format(" {:.1f} GB/s", limits.bytes * 1e-9);
  text += fmt::format("\n\n{:<{}} {:>36}  {:>36}  {:>8}  {:>9}\n", "", width, "ours, of the limit",
                      "ATen, of the limit", "faster", "spread");
  for (const auto& row : rows_) {
    const bool ours = !row.ours.times.empty(), aten = !row.aten.times.empty();
    if (!row.fault.empty()) text += fmt::format("{:<{}}  void: {}\n", row.name, width, row.fault);
    if (!ours && !aten) continue;
    text += fmt::format("{:<{}} {}{}", row.name, width, side(row.ours, row.unit), side(row.aten, row.unit));
    if (ours && aten) {
      text += fmt::format("{:>7.2f} x  {:>3.0f}, {:>2.0f} %", median(row.aten.times) / median(row.ours.times),
                          100 * spread(row.ours.times), 100 * spread(row.aten.times));
    }
    text += '\n';
  }
  return text;
}

}  // namespace lorica::bench
