// train/report and the plots it is made of. (In this folder because it needs nothing but metrics.)
#include "train/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/random.hpp"
#include "base/strings.hpp"
#include "base/temporary_folder.hpp"
#include "train/metrics/jsonl.hpp"
#include "train/metrics/plot.hpp"

namespace lorica::train {
namespace {

using test::message_of;
using test::put_file;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// A run of `steps` steps that learns with noise. LORICA_EXCHANGE_OUT keeps it, to look at the plots.
std::string fake_run(int steps, bool norms = true) {
  std::string content;
  for (int i = 1; i <= steps; ++i) {
    StepMetrics metrics;
    metrics.step = i;
    metrics.total_steps = steps;
    metrics.epoch = 2.0 * i / steps;
    metrics.loss = 0.5 + 3 * std::exp(-i / 60.0) + 0.2 * random_normal(7, static_cast<std::uint64_t>(i));
    metrics.lr = 2e-4 * (i < 20 ? i / 20.0 : 0.5 + 0.5 * std::cos(3.14159 * (i - 20) / (steps - 20)));
    if (norms) metrics.grad_norm = 0.3 + 0.1 * std::abs(random_normal(8, static_cast<std::uint64_t>(i)));
    metrics.tokens = 1000;
    metrics.step_seconds = 0.5;
    metrics.tokens_per_second = 2000 + 100 * random_normal(9, static_cast<std::uint64_t>(i));
    metrics.matmul_share = 0.45;
    metrics.peak_memory_bytes = 1536ULL << 20;
    content += to_jsonl(metrics) + "\n";
    if (i % 50 == 0) {
      const double loss = 0.55 + 3 * std::exp(-i / 60.0);
      content += to_jsonl(EvalMetrics{i, 0, loss, std::exp(loss), 10, 10, 1}) + "\n";
    }
  }
  return content;
}

TEST(Plot, TicksAreRoundAndCoverTheRange) {
  EXPECT_THAT(nice_ticks(0, 1, 6),
              ElementsAre(0, ::testing::DoubleNear(0.2, 1e-12), ::testing::DoubleNear(0.4, 1e-12),
                          ::testing::DoubleNear(0.6, 1e-12), ::testing::DoubleNear(0.8, 1e-12), 1));
  EXPECT_THAT(nice_ticks(3, 98, 6), ElementsAre(0, 20, 40, 60, 80, 100));
  for (const auto& [low, high] : {std::pair{-3.2, 7.1}, {1e-5, 2e-4}, {1e9, 3e9}, {0.5, 0.50001}}) {
    const auto ticks = nice_ticks(low, high, 6);
    EXPECT_LE(ticks.front(), low);
    EXPECT_GE(ticks.back(), high * (1 - 1e-12));
    EXPECT_GE(ticks.size(), 3U);
    EXPECT_LE(ticks.size(), 9U);
  }
}

TEST(Plot, TicksHaveTheDigitsTheyNeed) {
  EXPECT_EQ(tick_text(0.25, 0.05), "0.25");
  EXPECT_EQ(tick_text(0.5, 0.1), "0.5");
  EXPECT_EQ(tick_text(1500, 500), "1,500");
  EXPECT_EQ(tick_text(2e-5, 1e-5), "2e-05");
  EXPECT_EQ(tick_text(1.5e-4, 5e-5), "1.5e-04");
  EXPECT_EQ(tick_text(1e-17, 0.1), "0");
}

TEST(Plot, SmoothingIsUnbiasedFromTheStart) {
  const Curve curve{"c", {{1, 4}, {2, 4}, {3, 8}}, false, false};
  const auto smooth = smoothed(curve, 0.5);
  EXPECT_DOUBLE_EQ(smooth.points[0].second, 4);
  EXPECT_DOUBLE_EQ(smooth.points[1].second, 4);
  EXPECT_DOUBLE_EQ(smooth.points[2].second, (0.125 * 4 + 0.25 * 4 + 0.5 * 8) / 0.875);
}

TEST(Plot, SvgPlacesPointsBreaksAtGapsAndEscapes) {
  const auto svg =
      to_svg({"A < B & C", "x", "y", {{"c", {{0, 0}, {1, 1}, {2, NAN}, {3, 0}, {4, 1}}, false, false}}, true});
  EXPECT_THAT(svg, HasSubstr("A &lt; B &amp; C"));
  EXPECT_THAT(svg, HasSubstr("M84.0 364.0L272.0 48.0M648.0 364.0L836.0 48.0"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(to_svg({"empty", "x", "y", {}, false}), HasSubstr("</svg>"));
  EXPECT_THAT(to_svg({"flat", "x", "y", {{"c", {{1, 5}}, false, false}}, false}),
              AllOf(HasSubstr("circle"), Not(HasSubstr("nan"))));
}

TEST(Plot, TextCurveFallsAsTheLossFalls) {
  EXPECT_EQ(to_text({"", {{1, 4}, {2, 2}, {3, 0}}, false, false}, 3, 2),
            "        4 ┤█▁ \n"
            "        0 ┤██▁\n"
            "          └───\n"
            "           1 3\n");
  EXPECT_EQ(to_text({"", {{1, NAN}}, false, false}, 3, 2), "");
}

TEST(Report, WritesAllPlotsAndTheSummary) {
  TemporaryFolder folder;
  const char* out = std::getenv("LORICA_EXCHANGE_OUT");
  const std::filesystem::path run = out ? out : (folder / "run").string();
  put_file(run / kMetricsFile, fake_run(400));
  write_report(run);
  for (const char* name : {"loss", "lr", "throughput", "grad_norm"}) {
    const auto svg = read_file(run / "plots" / (std::string(name) + ".svg"));
    EXPECT_THAT(svg, AllOf(::testing::StartsWith("<svg "), HasSubstr("</svg>"), HasSubstr(">step</text>"),
                           Not(HasSubstr("nan"))));
  }
  EXPECT_THAT(
      read_file(run / "plots" / "loss.svg"),
      AllOf(HasSubstr(">training</text>"), HasSubstr(">training, smoothed</text>"), HasSubstr(">evaluation</text>")));
  EXPECT_THAT(summarize(run),
              AllOf(HasSubstr("400 of 400 (2.00 epochs)"), HasSubstr("training loss"), HasSubstr("after step 400"),
                    HasSubstr("0.5 s a step"), HasSubstr("45 %"), HasSubstr("1.50 GiB"), HasSubstr("400,000")));
}

TEST(Report, OtherFolderAndNoNorms) {
  TemporaryFolder folder;
  put_file(folder / "run" / kMetricsFile, fake_run(3, false));
  EXPECT_EQ(write_plots(folder / "run", folder / "elsewhere").size(), 3U);
  EXPECT_TRUE(std::filesystem::exists(folder / "elsewhere" / "plots" / "loss.svg"));
  EXPECT_FALSE(std::filesystem::exists(folder / "run" / "plots"));
}

TEST(Report, ALongRunsPlotStaysSmall) {
  TemporaryFolder folder;
  put_file(folder / "run" / kMetricsFile, fake_run(20000));
  write_plots(folder / "run", folder / "run");
  EXPECT_LT(std::filesystem::file_size(folder / "run" / "plots" / "loss.svg"), 200'000U);
}

TEST(Report, WhatIsMissingIsNamed) {
  TemporaryFolder folder;
  EXPECT_THAT(message_of<FileError>([&] { summarize(folder.path()); }), HasSubstr("metrics.jsonl"));
  put_file(folder / kMetricsFile, "");
  EXPECT_THAT(message_of<DataError>([&] { summarize(folder.path()); }), HasSubstr("no records"));
}

}  // namespace
}  // namespace lorica::train
