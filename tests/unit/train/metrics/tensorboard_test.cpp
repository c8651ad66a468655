#include "train/metrics/tensorboard.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "base/files.hpp"
#include "base/temporary_folder.hpp"

namespace lorica::train {
namespace {

using test::TemporaryFolder;
using ::testing::HasSubstr;

/// The payloads of a TFRecord file; checks both checksums.
std::vector<std::string> records(const std::filesystem::path& path) {
  const auto content = read_file(path);
  const auto mask = [](std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U; };
  std::vector<std::string> result;
  for (std::size_t at = 0; at < content.size();) {
    std::uint64_t length;
    std::uint32_t head_crc, body_crc;
    std::memcpy(&length, &content[at], 8);
    std::memcpy(&head_crc, &content[at + 8], 4);
    EXPECT_EQ(head_crc, mask(crc32c(content.substr(at, 8))));
    result.push_back(content.substr(at + 12, length));
    std::memcpy(&body_crc, &content[at + 12 + length], 4);
    EXPECT_EQ(body_crc, mask(crc32c(result.back())));
    at += 16 + length;
  }
  return result;
}

TEST(TensorBoard, Crc32cEqualsThePublishedVectors) {  // RFC 3720, appendix B.4
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43U);
}

TEST(TensorBoard, EachEventIsOnDiskAtOnceAndFramedRight) {
  TemporaryFolder folder;
  EventFile file(folder / "runs");
  EXPECT_THAT(file.path().filename().string(), ::testing::StartsWith("events.out.tfevents."));
  file.scalars(300, {{"train/loss", 1.5}});
  const auto found = records(file.path());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_THAT(found[0], HasSubstr("brain.Event:2"));
  // After the 9 bytes of wall_time: step = 300 (key 0x10, varint AC 02), summary (key 0x2A) of one value.
  EXPECT_EQ(found[1].substr(9), std::string("\x10\xAC\x02\x2A\x13\x0A\x11\x0A\x0A", 9) + "train/loss" +
                                    std::string("\x15\x00\x00\xC0\x3F", 5));
}

TEST(TensorBoard, ALaterFileSortsAfterAnEarlierOne) {
  TemporaryFolder folder;
  EventFile first(folder.path());
  EventFile second(folder.path());
  EventFile third(folder.path());
  EXPECT_LT(first.path(), second.path());
  EXPECT_LT(second.path(), third.path());
}

TEST(TensorBoard, AStepWithoutTrainingMetricsHasItsSpeedAndMemory) {
  TemporaryFolder folder;
  StepMetrics metrics;
  metrics.step = 2;
  {
    TensorBoardSink sink(folder / "runs", std::nullopt);
    sink.system(metrics);
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder / "runs")) {
    const auto last = records(entry.path()).back();
    EXPECT_THAT(last, HasSubstr("train/tokens_per_second"));
    EXPECT_THAT(last, HasSubstr("train/peak_memory_gib"));
    EXPECT_THAT(last, ::testing::Not(HasSubstr("train/loss")));
    EXPECT_THAT(last, ::testing::Not(HasSubstr("train/lr")));
  }
}

/// Also the driver of tests/parity/test_tensorboard.py, which reads LORICA_EXCHANGE_OUT: a run of 6 steps killed after
/// its checkpoint of step 4 and resumed to step 8.
TEST(TensorBoard, WritesARunThatWasResumed) {
  TemporaryFolder folder;
  const char* out = std::getenv("LORICA_EXCHANGE_OUT");
  const std::filesystem::path runs = out ? out : (folder / "runs").string();
  const auto write = [](TensorBoardSink& sink, std::int64_t step, double loss) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.loss = loss;
    metrics.lr = 1e-4 * static_cast<double>(step);
    if (step > 1) metrics.grad_norm = 0.5;
    metrics.peak_allocated_bytes = 2 * (1ULL << 30);
    sink.step(metrics);
  };
  {
    TensorBoardSink sink(runs, std::nullopt);
    for (int step = 1; step <= 6; ++step) write(sink, step, 10 - step);
    sink.evaluation({.step = 4, .loss = 5, .perplexity = 148});
    sink.evaluation({.step = 6, .loss = 99, .perplexity = 99});
  }
  {
    TensorBoardSink sink(runs, 4);
    for (int step = 5; step <= 8; ++step) write(sink, step, 20 - step);
    sink.evaluation({.step = 8, .loss = 4, .perplexity = 55});
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(runs), {}), 2);
}

}  // namespace
}  // namespace lorica::train
