#include "train/metrics/progress.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <cmath>

#include "base/files.hpp"
#include "base/strings.hpp"
#include "base/temporary_folder.hpp"
#include "train/metrics/jsonl.hpp"

namespace lorica::train {
namespace {

using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Progress : public ::testing::Test {
 protected:
  Progress() : stream_(std::fopen((folder_ / "out").c_str(), "w")) {}
  ~Progress() override { std::fclose(stream_); }
  ProgressOptions options(bool terminal) {
    ProgressOptions options;
    options.stream = stream_;
    options.terminal = terminal;
    options.now = [this] { return now_; };
    return options;
  }
  static StepMetrics step(std::int64_t number, std::int64_t total) {
    StepMetrics metrics;
    metrics.step = number;
    metrics.total_steps = total;
    metrics.loss = 2.5;
    metrics.lr = 1e-4;
    metrics.step_seconds = 1;
    metrics.tokens = 1234;
    metrics.tokens_per_second = 1234;
    return metrics;
  }
  std::string written() {
    std::fflush(stream_);
    return read_file(folder_ / "out");
  }
  TemporaryFolder folder_;
  std::FILE* stream_;
  double now_ = 100;
};

TEST(ProgressText, Clock) {
  EXPECT_EQ(clock_text(0), "00:00");
  EXPECT_EQ(clock_text(220.9), "03:40");
  EXPECT_EQ(clock_text(3723), "1:02:03");
  EXPECT_EQ(clock_text(2 * 86400 + 3723), "2d 01:02:03");
  EXPECT_EQ(clock_text(std::nan("")), "?");
}

TEST(ProgressText, BarHasAlwaysTheSameWidth) {
  EXPECT_EQ(bar_text(0, 4), "    ");
  EXPECT_EQ(bar_text(0.5, 4), "██  ");
  EXPECT_EQ(bar_text(0.28125, 4), "█▏  ");
  EXPECT_EQ(bar_text(1, 4), "████");
  EXPECT_EQ(bar_text(7, 2), "██");
}

TEST(ProgressText, CutBetweenCharactersByTheirColumns) {
  EXPECT_EQ(fit_columns("█▏ab", 3), "█▏a");
  EXPECT_EQ(fit_columns("ab", 5), "ab");
  EXPECT_EQ(fit_columns("日本語", 5), "日本");
  EXPECT_EQ(fit_columns("e\u0301e\u0301", 1), "e\u0301");
  EXPECT_EQ(display_width("日本語 e\u0301█▏"), 10);
  EXPECT_EQ(display_width("\xff\xfe"), 2);
}

ProgressFacts facts() {
  return {.step = 60,
          .total_steps = 500,
          .loss = 1.23456,
          .lr = 1e-4,
          .grad_norm = 0.314,
          .tokens_per_second = 1234,
          .matmul_share = 0.45,
          .peak_memory_bytes = 1536ULL << 20,
          .evaluation_loss = 1.5,
          .elapsed = 30,
          .remaining = 220};
}

TEST(ProgressLine, FactsGoByTheirWorthAsTheTerminalNarrows) {
  EXPECT_EQ(progress_line(facts(), 39), "step 60/500, loss 1.2346, 03:40 left");
  EXPECT_EQ(progress_line(facts(), 79),
            "12% |▊      | step 60/500, loss 1.2346, 03:40 left, 1,234 tokens/s, lr 1.00e-04");
  EXPECT_EQ(progress_line(facts(), 300),
            "12% |███▌                          | step 60/500, loss 1.2346, 03:40 left, 1,234 tokens/s, lr 1.00e-04, "
            "eval loss 1.5000, memory 1.50 GiB, gradient norm 0.314, 45 % of peak speed, 00:30 elapsed");
}

TEST(ProgressLine, NothingIsCutAtAnyWidthAndNothingComesAndGoesTwice) {
  auto long_run = facts();
  long_run.step = 123456, long_run.total_steps = 1000000, long_run.remaining = 1e6, long_run.tokens_per_second = 98765;
  for (const auto& shown : {facts(), long_run}) {
    std::size_t before = 0;
    for (int columns = 40; columns <= 200; ++columns) {
      const auto line = progress_line(shown, columns);
      EXPECT_LE(display_width(line), columns) << line;
      EXPECT_THAT(line, AllOf(HasSubstr("step "), HasSubstr("loss 1.2346"), Not(::testing::EndsWith(","))));
      // A bar of no width is none.
      EXPECT_THAT(line, Not(HasSubstr("||")));
      const auto shown_facts = split(line, ',').size();
      EXPECT_GE(shown_facts, before);
      before = shown_facts;
    }
  }
}

TEST(ProgressLine, ASentenceHasTheWords) {
  EXPECT_EQ(progress_sentence(facts()),
            "step 60/500, loss 1.2346, lr 1.00e-04, gradient norm 0.314, 1,234 tokens/s (45 % of peak speed), memory "
            "1.50 GiB, elapsed 00:30, left 03:40");
}

TEST_F(Progress, PipedOutputGetsAboutAHundredWholeLines) {
  ProgressSink sink(options(false));
  for (std::int64_t i = 1; i <= 1000; ++i) {
    now_ += 1;
    sink.step(step(i, 1000));
  }
  sink.finish();
  const auto lines = split(written(), '\n');
  EXPECT_EQ(lines.size(), 102U);  // steps 1, 10, 20, … 1000, and nothing after the last newline
  EXPECT_EQ(lines[0], "step 1/1000, loss 2.5000, lr 1.00e-04, 1,234 tokens/s, elapsed 00:01, left 16:39");
  EXPECT_EQ(lines[50], "step 500/1000, loss 2.5000, lr 1.00e-04, 1,234 tokens/s, elapsed 08:20, left 08:20");
  EXPECT_THAT(written(), AllOf(Not(HasSubstr("\r")), Not(HasSubstr("\x1b"))));
}

TEST_F(Progress, TheLastStepOfAnInterruptedRunIsShown) {
  ProgressSink sink(options(false));
  for (std::int64_t i = 1; i <= 7; ++i) sink.step(step(i, 1000));
  sink.finish();
  EXPECT_THAT(written(), HasSubstr("step 7/1000"));
}

TEST_F(Progress, TerminalRewritesOneLineAndNotTooOften) {
  {
    ProgressSink sink(options(true));
    for (std::int64_t i = 1; i <= 100; ++i) {
      now_ += 0.02;
      sink.step(step(i, 200));
    }
    sink.finish();
  }
  const auto text = written();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  const auto draws = std::count(text.begin(), text.end(), '\r');
  EXPECT_GE(draws, 15);
  EXPECT_LE(draws, 25);
  EXPECT_THAT(text, AllOf(HasSubstr("50% |"), HasSubstr("| step 100/200, loss 2.5000, 00:0")));
}

TEST_F(Progress, LogLinesDoNotTearTheLine) {
  std::ostringstream log;
  auto logger = std::make_shared<spdlog::logger>("t", std::make_shared<spdlog::sinks::ostream_sink_mt>(log));
  logger->set_pattern("%v");
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(logger);
  {
    ProgressSink sink(options(true));
    sink.step(step(1, 2));
    const auto shown = written();
    spdlog::info("a message");
    EXPECT_EQ(log.str(), "a message\n");
    // The line was erased for the message, and then drawn again.
    const auto after = written().substr(shown.size());
    EXPECT_THAT(after, ::testing::StartsWith("\r\x1b[K"));
    EXPECT_THAT(after, HasSubstr("1/2"));
  }
  spdlog::info("after");
  EXPECT_EQ(log.str(), "a message\nafter\n");
  spdlog::set_default_logger(before);
}

TEST_F(Progress, EvaluationsSayHowTheLossMoved) {
  ProgressSink sink(options(false));
  sink.evaluation({.step = 0, .loss = 2, .perplexity = std::exp(2.0), .tokens = 1234, .seconds = 3});
  sink.evaluation({.step = 10, .loss = 1.5, .perplexity = std::exp(1.5), .tokens = 1234, .seconds = 3});
  EXPECT_THAT(written(), AllOf(HasSubstr("before the first step: loss 2.0000, perplexity 7.389, 1,234 tokens, 3.0s"),
                               HasSubstr("after step 10: loss 1.5000 (was 2.0000, -25.00 %)")));
}

TEST_F(Progress, AnEvaluationThatChangesNothingHasNoSign) {
  ProgressSink sink(options(false));
  sink.evaluation({.step = 1, .loss = 2, .tokens = 1, .seconds = 3});
  sink.evaluation({.step = 2, .loss = 2 - 1e-9, .tokens = 1, .seconds = 3});
  EXPECT_THAT(written(), AllOf(HasSubstr("(was 2.0000, 0.00 %)"), HasSubstr(", 1 token,"), Not(HasSubstr("-0.00"))));
}

/// log_to tensorboard: the first step, one a minute, evaluations, checkpoints and the last.
TEST_F(Progress, WhereOnlyFilesWereAskedForALineAMinuteShowsThatTheRunIsAlive) {
  auto with = signs_of_life(stream_, 0);
  with.now = [this] { return now_; };
  ProgressSink sink(with);
  for (std::int64_t i = 1; i <= 300; ++i) {
    now_ += 1;
    sink.step(step(i, 300));
    if (i == 150) sink.checkpoint(150, "out/checkpoint-150", 0.25);
  }
  sink.finish();
  const auto lines = split(written(), '\n');
  ASSERT_EQ(lines.size(), 8U);  // nothing after the last newline
  EXPECT_THAT(lines[0], ::testing::StartsWith("step 1/300, "));
  EXPECT_THAT(lines[1], ::testing::StartsWith("step 61/300, "));
  EXPECT_EQ(lines[3], "checkpoint after step 150: out/checkpoint-150, written in 0.2s");
  EXPECT_THAT(lines[6], ::testing::StartsWith("step 300/300, "));
}

/// A thinned line speaks for all steps since the one before.
TEST_F(Progress, TheSpeedIsThatOfAllStepsSinceTheLastLine) {
  auto with = options(false);
  with.every = 1;
  ProgressSink sink(with);
  sink.step(step(1, 9));
  auto slow = step(2, 9), fast = step(3, 9);
  slow.step_seconds = 3, slow.tokens = 300;
  fast.step_seconds = 1, fast.tokens = 500;
  sink.system(slow);
  sink.step(fast);
  EXPECT_THAT(written(), HasSubstr("step 3/9, loss 2.5000, lr 1.00e-04, 200 tokens/s"));
}

/// The evaluation before the first step, or the trial of the heaviest micro-batch, is no part of a step's time.
TEST_F(Progress, WhatCameBeforeTheFirstStepDoesNotCountForTheRest) {
  ProgressSink sink(options(false));
  now_ += 600;
  for (std::int64_t i = 1; i <= 10; ++i) {
    now_ += 1;
    sink.step(step(i, 20));
  }
  EXPECT_THAT(written(), HasSubstr("step 10/20, loss 2.5000, lr 1.00e-04, 1,234 tokens/s, elapsed 00:10, left 00:10"));
}

TEST_F(Progress, ResumedStepsDoNotCountForTheSpeed) {
  auto with = options(false);
  with.already_done = 900;
  ProgressSink sink(with);
  for (std::int64_t i = 901; i <= 910; ++i) {
    now_ += 2;
    auto metrics = step(i, 1000);
    metrics.step_seconds = 2;
    sink.step(metrics);
  }
  EXPECT_THAT(written(), HasSubstr("step 910/1000, loss 2.5000, lr 1.00e-04, 617 tokens/s, elapsed 00:20, left 03:00"));
}

/// Notes what reaches it.
class Recorder : public MetricsSink {
 public:
  explicit Recorder(std::vector<std::int64_t>& steps) : steps_(steps) {}
  void step(const StepMetrics& metrics) override { steps_.push_back(metrics.step); }
  void system(const StepMetrics& metrics) override { steps_.push_back(100 + metrics.step); }
  void evaluation(const EvalMetrics& metrics) override { steps_.push_back(-metrics.step); }
  void finish() override { steps_.push_back(0); }

 private:
  std::vector<std::int64_t>& steps_;
};

TEST(MetricsWriter, LogEveryThinsTrainingMetricsAndKeepsTheFirstTheLastAndEvaluations) {
  std::vector<std::int64_t> got;
  {
    std::vector<std::unique_ptr<MetricsSink>> sinks;
    sinks.push_back(std::make_unique<Recorder>(got));
    MetricsWriter writer(std::move(sinks), 4);
    for (std::int64_t i = 1; i <= 10; ++i) {
      StepMetrics metrics;
      metrics.step = i;
      metrics.total_steps = 10;
      writer.step(metrics);
    }
    writer.evaluation({.step = 10});
    writer.finish();
  }
  EXPECT_THAT(got, ::testing::ElementsAre(1, 102, 103, 4, 105, 106, 107, 8, 109, 10, -10, 0));
}

TEST(MetricsWriter, LogToChoosesTheSinks) {
  MetricsOptions options;
  apply_log_to({"stdout"}, options);
  EXPECT_TRUE(options.lines_on_stdout && !options.progress && !options.tensorboard);
  apply_log_to({"none"}, options);
  EXPECT_TRUE(!options.lines_on_stdout && !options.progress && !options.tensorboard && !options.signs_of_life);
  apply_log_to({"tqdm", "tensorboard"}, options);
  EXPECT_TRUE(!options.lines_on_stdout && options.progress && options.tensorboard && !options.signs_of_life);
  apply_log_to({"tensorboard"}, options);
  EXPECT_TRUE(!options.lines_on_stdout && !options.progress && options.tensorboard && options.signs_of_life);
}

TEST(MetricsWriter, WritesTheFilesThatTheOptionsAskFor) {
  for (const bool tensorboard : {false, true}) {
    TemporaryFolder folder;
    MetricsOptions options;
    options.run_folder = folder.path();
    options.tensorboard = tensorboard;
    options.progress = false;
    MetricsWriter writer(options);
    StepMetrics metrics;
    metrics.step = metrics.total_steps = 1;
    writer.step(metrics);
    EXPECT_EQ(read_metrics(folder / kMetricsFile).steps.size(), 1U);
    EXPECT_EQ(std::filesystem::exists(folder / "runs"), tensorboard);
  }
}

}  // namespace
}  // namespace lorica::train
