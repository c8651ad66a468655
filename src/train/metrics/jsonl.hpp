// metrics.jsonl: one JSON object a line, of kind "train", "system", "eval" or "end"; fields.hpp lists the keys. What is
// the same in every run with the same seed stands at the top of the object; what the clock or the machine decides is in
// its "timing". Equal numbers give equal text (shortest decimal that reads back the same).
#pragma once

#include <set>
#include <string>
#include <utility>

#include "train/metrics/metrics.hpp"

namespace lorica::train {

inline constexpr const char* kMetricsFile = "metrics.jsonl";

/// The line of a record, without its newline. A number that isn't finite is written as null, one that wasn't measured
/// is left out.
std::string to_jsonl(const StepMetrics& metrics);
std::string to_jsonl(const EvalMetrics& metrics);
std::string to_jsonl(const EndMetrics& metrics);
/// Kind "system": a step without its training metrics.
std::string system_to_jsonl(const StepMetrics& metrics);

/// The records of a file, in order, and what of it is none.
struct MetricsRecords {
  std::vector<StepMetrics> steps;
  std::vector<StepMetrics> systems;  ///< speed and memory of the steps between; their training metrics aren't set
  std::vector<EvalMetrics> evaluations;
  std::optional<EndMetrics> end;
  /// Lines that are no records ("12: …"), in order; a last line without its newline, too: its writer was killed.
  std::vector<std::string> broken;
};
/// Throws FileError if the file can't be read.
MetricsRecords read_metrics(const std::filesystem::path& file);

/// Appends records, each in one write() so that a killed process loses none that it had written. On resuming, records
/// after `resumed_step` are dropped first (atomically), and a record that is already there is not written again.
class JsonlSink : public MetricsSink {
 public:
  JsonlSink(std::filesystem::path file, std::optional<std::int64_t> resumed_step);
  ~JsonlSink() override;
  void step(const StepMetrics& metrics) override;
  void system(const StepMetrics& metrics) override;
  void evaluation(const EvalMetrics& metrics) override;
  void finish() override;
  void end(const EndMetrics& metrics) override;

 private:
  void append(std::string line);
  std::filesystem::path file_;
  std::set<std::pair<std::string, std::int64_t>> kept_;  ///< kind and step of the records kept on resuming
  int fd_ = -1;
};

}  // namespace lorica::train
