// metrics.jsonl: one JSON object a line. What is the same in every run with the same seed stands at the top of the
// object; what the clock or the machine decides is in its "timing". Equal numbers give equal text (shortest decimal
// that reads back the same).
//
//   {"kind":"train","step":1,"epoch":0.1,"loss":2.5,"lr":1e-05,"grad_norm":0.3,"tokens":512,"supervised_tokens":100,"examples":4,
//    "timing":{"total_steps":…,"step_seconds":…,"tokens_per_second":…,"matmul_share":…,"peak_memory_bytes":…,
//              "start":{"load_seconds":…,"loaded_peak_bytes":…,"ready_seconds":…,"first_step_seconds":…,
//                       "recompute":"selective"}}}  (start: a process's first)
//   {"kind":"eval","step":10,"epoch":1,"loss":2.4,"perplexity":11.02,"tokens":900,"examples":40,"timing":{"seconds":…}}
#pragma once

#include <set>
#include <string_view>
#include <utility>

#include "train/metrics/metrics.hpp"

namespace lorica::train {

inline constexpr const char* kMetricsFile = "metrics.jsonl";

/// The line of a record, without its newline. A number that isn't finite is written as null.
std::string to_jsonl(const StepMetrics& metrics);
std::string to_jsonl(const EvalMetrics& metrics);

/// The records of a file, in order. Throws FileError (can't be read) or DataError naming the line (not such a record);
/// a last line without its newline is dropped: the process that wrote it was killed.
struct MetricsRecords {
  std::vector<StepMetrics> steps;
  std::vector<EvalMetrics> evaluations;
};
MetricsRecords read_metrics(const std::filesystem::path& file);

/// Appends records, each in one write() so that a killed process loses none that it had written. On resuming, records
/// after `resumed_step` are dropped first (atomically), and a record that is already there is not written again.
class JsonlSink : public MetricsSink {
 public:
  JsonlSink(std::filesystem::path file, std::optional<std::int64_t> resumed_step);
  ~JsonlSink() override;
  void step(const StepMetrics& metrics) override;
  void evaluation(const EvalMetrics& metrics) override;
  void finish() override;

 private:
  void append(std::string line);
  std::filesystem::path file_;
  std::set<std::pair<char, std::int64_t>> kept_;  ///< kind ('t', 'e') and step of the records kept on resuming
  int fd_ = -1;
};

}  // namespace lorica::train
