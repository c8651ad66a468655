#include "train/metrics/jsonl.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/temporary_folder.hpp"

namespace lorica::train {
namespace {

using test::put_file;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

StepMetrics step(std::int64_t number) {
  StepMetrics metrics;
  metrics.step = number;
  metrics.total_steps = 10;
  metrics.epoch = static_cast<double>(number) / 7;
  metrics.loss = 3.0 / static_cast<double>(number + 2);
  metrics.lr = 1e-5;
  metrics.grad_norm = 0.1;
  metrics.tokens = 100;
  metrics.supervised_tokens = 40;
  metrics.examples = 2;
  metrics.step_seconds = 0.25;
  metrics.tokens_per_second = 400;
  metrics.peak_memory_bytes = 1 << 20;
  return metrics;
}

EvalMetrics evaluation(std::int64_t after) {
  return {.step = after, .epoch = 1, .loss = 2, .perplexity = std::exp(2.0), .tokens = 9, .examples = 3, .seconds = 1};
}

TEST(Jsonl, RecordsReadBackExactly) {
  TemporaryFolder folder;
  auto first = step(1);
  first.loss = 0.1 + 0.2;
  first.grad_norm.reset();
  first.matmul_share = 0.5;
  first.peak_allocated_bytes = 12345;
  first.start = StartMetrics{0.5, 1 << 21, 1.25, 2.5, "selective"};
  put_file(folder / "m", to_jsonl(first) + "\n" + to_jsonl(evaluation(1)) + "\n" + to_jsonl(step(2)) + "\n");
  const auto records = read_metrics(folder / "m");
  ASSERT_EQ(records.steps.size(), 2U);
  EXPECT_EQ(records.steps[0].loss, 0.1 + 0.2);
  EXPECT_EQ(records.steps[0].grad_norm, std::nullopt);
  EXPECT_EQ(records.steps[0].matmul_share, 0.5);
  EXPECT_EQ(records.steps[0].peak_allocated_bytes, 12345);
  ASSERT_TRUE(records.steps[0].start);
  EXPECT_EQ(records.steps[0].start->load_seconds, 0.5);
  EXPECT_EQ(records.steps[0].start->loaded_peak_bytes, 1U << 21);
  EXPECT_EQ(records.steps[0].start->ready_seconds, 1.25);
  EXPECT_EQ(records.steps[0].start->first_step_seconds, 2.5);
  EXPECT_EQ(records.steps[0].start->recompute, "selective");
  EXPECT_FALSE(records.steps[1].start);
  EXPECT_EQ(records.steps[1].epoch, 2.0 / 7);
  EXPECT_EQ(records.steps[1].peak_memory_bytes, 1U << 20);
  ASSERT_EQ(records.evaluations.size(), 1U);
  EXPECT_EQ(records.evaluations[0].perplexity, std::exp(2.0));
}

TEST(Jsonl, WhatTheClockDecidesStandsInTiming) {
  auto one = step(1), other = step(1);
  other.start = StartMetrics{1, 2, 3, 4, "keep"};
  other.step_seconds = 9, other.tokens_per_second = 1, other.peak_memory_bytes = 5, other.matmul_share = 0.1;
  const auto before_timing = [](const std::string& line) { return line.substr(0, line.find("\"timing\"")); };
  EXPECT_NE(to_jsonl(one), to_jsonl(other));
  EXPECT_EQ(before_timing(to_jsonl(one)), before_timing(to_jsonl(other)));
  EXPECT_THAT(before_timing(to_jsonl(one)), AllOf(HasSubstr("\"loss\":1,"), HasSubstr("\"lr\":1e-05")));
}

TEST(Jsonl, NumbersThatAreNotFiniteAreNull) {
  TemporaryFolder folder;
  auto bad = step(1);
  bad.loss = std::nan("");
  bad.grad_norm = INFINITY;
  put_file(folder / "m", to_jsonl(bad) + "\n");
  EXPECT_THAT(read_file(folder / "m"), HasSubstr("\"loss\":null"));
  EXPECT_TRUE(std::isnan(read_metrics(folder / "m").steps[0].loss));
}

TEST(Jsonl, EachRecordIsInTheFileAtOnce) {
  TemporaryFolder folder;
  JsonlSink sink(folder / "m", std::nullopt);
  sink.step(step(1));
  EXPECT_EQ(read_file(folder / "m"), to_jsonl(step(1)) + "\n");
}

TEST(Jsonl, ANewRunStartsANewFile) {
  TemporaryFolder folder;
  put_file(folder / "m", to_jsonl(step(1)) + "\n");
  JsonlSink sink(folder / "m", std::nullopt);
  EXPECT_EQ(read_file(folder / "m"), "");
}

/// A run killed after step 5 (its last line torn), resumed from the checkpoint of step 3, equals one that was never
/// killed.
TEST(Jsonl, B12_AResumedRunsRecordsEqualAnUninterruptedOnes) {
  TemporaryFolder folder;
  const auto run = [](JsonlSink& sink, std::int64_t first, std::int64_t last) {
    for (auto i = first; i <= last; ++i) {
      sink.step(step(i));
      if (i % 3 == 0) sink.evaluation(evaluation(i));
    }
  };
  {
    JsonlSink sink(folder / "whole", std::nullopt);
    run(sink, 1, 8);
  }
  {
    JsonlSink sink(folder / "killed", std::nullopt);
    run(sink, 1, 5);
  }
  const auto content = read_file(folder / "killed");
  put_file(folder / "killed", content.substr(0, content.size() - 20));
  {
    JsonlSink sink(folder / "killed", 3);
    EXPECT_EQ(read_metrics(folder / "killed").steps.size(), 3U);
    EXPECT_THAT(read_metrics(folder / "killed").broken, IsEmpty());
    sink.evaluation(evaluation(3));  // made again by a loop that evaluates on resuming: not doubled
    run(sink, 4, 8);
  }
  EXPECT_EQ(read_file(folder / "killed"), read_file(folder / "whole"));
}

TEST(Jsonl, ResumingDropsWhatIsNoRecordAndWorksWithoutAFile) {
  TemporaryFolder folder;
  put_file(folder / "m", to_jsonl(step(1)) + "\n\0\0garbage\n" + to_jsonl(step(2)) + "\n");
  JsonlSink sink(folder / "m", 2);
  EXPECT_EQ(read_metrics(folder / "m").steps.size(), 2U);
  JsonlSink other(folder / "absent", 5);
  other.step(step(6));
  EXPECT_EQ(read_metrics(folder / "absent").steps.size(), 1U);
}

TEST(Jsonl, WhatIsNoRecordIsNamedAndTheRestIsRead) {
  TemporaryFolder folder;
  put_file(folder / "m", to_jsonl(step(1)) + "\n{\"kind\":\"train\"}\n\xff\n{\"kind\":\"x\",\"step\":1}\n[]\n" +
                             to_jsonl(step(2)) + "\n{\"kind\":\"train\",\"st");
  const auto records = read_metrics(folder / "m");
  EXPECT_EQ(records.steps.size(), 2U);
  EXPECT_THAT(records.broken, ElementsAre(StartsWith("2: "), StartsWith("3: "), StartsWith("4: 'x' is no kind"),
                                          StartsWith("5: "), "7: cut short, its writer was killed"));
  EXPECT_THROW(read_metrics(folder / "absent"), FileError);
}

/// log_every_n_steps thins the training metrics; speed and memory are in the file for every step.
TEST(Jsonl, ASystemRecordHasTheStepsSpeedAndMemoryButNoLoss) {
  TemporaryFolder folder;
  JsonlSink sink(folder / "m", std::nullopt);
  sink.system(step(2));
  EXPECT_THAT(read_file(folder / "m"),
              AllOf(StartsWith("{\"kind\":\"system\",\"step\":2,"), Not(HasSubstr("loss")), Not(HasSubstr("\"lr\""))));
  const auto records = read_metrics(folder / "m");
  EXPECT_TRUE(records.steps.empty());
  ASSERT_EQ(records.systems.size(), 1U);
  EXPECT_EQ(records.systems[0].tokens, 100);
  EXPECT_EQ(records.systems[0].tokens_per_second, 400);
  EXPECT_EQ(records.systems[0].peak_memory_bytes, 1U << 20);
}

TEST(Jsonl, TheEndIsThatOfTheLastSession) {
  TemporaryFolder folder;
  {
    JsonlSink sink(folder / "m", std::nullopt);
    sink.step(step(1));
    sink.end({.step = 1, .seconds = 2.5, .peak_memory_bytes = 99});
  }
  const auto first = read_metrics(folder / "m").end;
  ASSERT_TRUE(first);
  EXPECT_EQ(std::make_tuple(first->step, first->seconds, first->peak_memory_bytes), std::make_tuple(1, 2.5, 99U));
  JsonlSink sink(folder / "m", 1);
  EXPECT_FALSE(read_metrics(folder / "m").end);
  EXPECT_EQ(read_metrics(folder / "m").steps.size(), 1U);
}

TEST(Jsonl, AFolderThatDoesNotExistIsAFileError) {
  TemporaryFolder folder;
  EXPECT_THROW(JsonlSink(folder / "no" / "m", std::nullopt), FileError);
}

}  // namespace
}  // namespace lorica::train
