// TensorBoard event files. Format: TFRecord framing (length, masked CRC-32C of it, payload, masked CRC-32C of that;
// TensorFlow's tfrecord documentation) around protocol-buffer messages `Event` (tensorflow/core/util/event.proto). Only
// scalars are needed, so that the two tiny messages are encoded by hand: libprotobuf would clash with the copy inside
// LibTorch.
#pragma once

#include <initializer_list>
#include <string_view>

#include "train/metrics/fields.hpp"

namespace lorica::train {

inline constexpr const char* kTensorBoardFolder = "runs";

/// CRC-32C (Castagnoli): polynomial 0x1EDC6F41, reflected. crc32c("123456789") = 0xE3069283.
std::uint32_t crc32c(std::string_view bytes);

/// One event file. Every event is handed to the system at once, so that TensorBoard follows the run live.
class EventFile {
 public:
  /// Makes `folder` and in it events.out.tfevents.<seconds>.<host>.<pid>, named so that it sorts after the folder's
  /// older ones.
  explicit EventFile(const std::filesystem::path& folder);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;
  void scalars(std::int64_t step, const std::vector<std::pair<std::string, double>>& values);
  /// Tells TensorBoard to forget what older files hold from `step` on: the run was resumed before it.
  void restart(std::int64_t step);
  const std::filesystem::path& path() const { return path_; }

 private:
  void record(std::string_view event);
  std::filesystem::path path_;
  int fd_ = -1;
};

/// The tags are those of fields.hpp.
class TensorBoardSink : public MetricsSink {
 public:
  TensorBoardSink(const std::filesystem::path& folder, std::optional<std::int64_t> resumed_step);
  void step(const StepMetrics& metrics) override;
  void system(const StepMetrics& metrics) override;
  void evaluation(const EvalMetrics& metrics) override;

 private:
  void scalars(const StepMetrics& metrics, std::initializer_list<Part> parts);
  EventFile file_;
};

}  // namespace lorica::train
