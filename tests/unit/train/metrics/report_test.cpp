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

TEST(Plot, TicksAreInOneNotation) {
  EXPECT_THAT(tick_texts({0, 0.05, 0.1}), ElementsAre("0", "0.05", "0.10"));
  EXPECT_THAT(tick_texts({0.4, 0.5}), ElementsAre("0.4", "0.5"));
  EXPECT_THAT(tick_texts({0, 500, 1000}), ElementsAre("0", "500", "1,000"));
  EXPECT_THAT(tick_texts({1e-17, 0.1}), ElementsAre("0", "0.1"));
  // Learning rates: none of them as 0.0010 beside 5e-04.
  EXPECT_THAT(tick_texts({0, 5e-4, 1e-3, 1.5e-3}), ElementsAre("0", "5.0e-04", "1.0e-03", "1.5e-03"));
  EXPECT_THAT(tick_texts({0, 1e-5, 2e-5}), ElementsAre("0", "1e-05", "2e-05"));
  EXPECT_THAT(tick_texts({0, 5e7, 1e8}), ElementsAre("0", "5.0e+07", "1.0e+08"));
}

TEST(Plot, AShortRunHasNoFractionsOfSteps) {
  EXPECT_THAT(nice_ticks(1, 3, 9, 1), ElementsAre(1, 2, 3));
  EXPECT_THAT(nice_ticks(1, 1000, 6, 1).size(), 6U);
  Plot plot;
  plot.curves = {{"c", {{1, 3}, {2, 2}}}};
  plot.whole_x = true;
  EXPECT_THAT(to_svg(plot), AllOf(HasSubstr(">1</text>"), HasSubstr(">2</text>"), Not(HasSubstr(">1.5</text>"))));
  plot.curves = {{"c", {{1, 3}}}};
  EXPECT_THAT(to_svg(plot), AllOf(HasSubstr(">1</text>"), Not(HasSubstr(">0.9</text>"))));
}

TEST(Plot, SmoothingDoesNotLagAndKeepsTheEnds) {
  Curve line{"c", {}};
  for (int i = 0; i < 9; ++i) line.points.emplace_back(i, 2.0 * i);
  EXPECT_EQ(smoothed(line, 3).points, line.points);
  const auto smooth = smoothed({"c", {{1, 4}, {2, 1}, {3, NAN}, {4, 7}, {5, 8}}}, 1);
  EXPECT_THAT(smooth.points, ElementsAre(std::pair(1.0, 4.0), std::pair(2.0, 2.5), std::pair(3.0, 4.0),
                                         std::pair(4.0, 7.5), std::pair(5.0, 8.0)));
}

TEST(Plot, NamesThatDoNotFitBesideTheTitleStandBelowIt) {
  Plot plot;
  plot.title = "Loss";
  for (int i = 0; i < 3; ++i) plot.curves.push_back({std::string(60, 'n'), {{1, 1}, {2, 2}}});
  EXPECT_THAT(to_svg(plot), AllOf(HasSubstr("y=\"48\">nnn"), HasSubstr("y=\"66\">nnn"), HasSubstr("y=\"84\">nnn")));
}

TEST(Plot, SvgPlacesPointsBreaksAtGapsAndEscapes) {
  Plot plot{"A < B & C", "x", "y", {{"c", {{0, 0}, {1, 1}, {2, NAN}, {3, 0}, {4, 1}}}}};
  plot.from_zero = true;
  const auto svg = to_svg(plot);
  EXPECT_THAT(svg, HasSubstr("A &lt; B &amp; C"));
  EXPECT_THAT(svg, HasSubstr("M84.0 364.0L272.0 48.0M648.0 364.0L836.0 48.0"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(to_svg({"empty", "x", "y", {}}), HasSubstr("</svg>"));
  EXPECT_THAT(to_svg({"flat", "x", "y", {{"c", {{1, 5}}}}}), AllOf(HasSubstr("circle"), Not(HasSubstr("nan"))));
}

TEST(Plot, TextCurveFallsAsTheLossFalls) {
  EXPECT_EQ(to_text({"", {{1, 4}, {2, 2}, {3, 0}}}, 3, 2),
            "        4 ┤█▁ \n"
            "        0 ┤██▁\n"
            "          └───\n"
            "           1 3\n");
  EXPECT_EQ(to_text({"", {{1, NAN}}}, 3, 2), "");
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
  EXPECT_THAT(read_file(run / "plots" / "loss.svg"),
              AllOf(HasSubstr(">training</text>"), HasSubstr(">training, smoothed</text>"),
                    HasSubstr(">evaluation</text>"), HasSubstr("smoothed: mean of the 41 records around each step")));
  EXPECT_THAT(summarize(run),
              AllOf(HasSubstr("400 of 400 (2.00 epochs)"), HasSubstr("training loss"), HasSubstr("evaluation loss"),
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

TEST(Report, StepsThatAreNotLoggedCountForSpeedAndTokens) {
  TemporaryFolder folder;
  StepMetrics one;
  one.step = 1, one.total_steps = 2, one.tokens = 10, one.step_seconds = 1, one.tokens_per_second = 10;
  auto two = one;
  two.step = 2, two.peak_memory_bytes = 3 << 20;
  put_file(folder / kMetricsFile, to_jsonl(one) + "\n" + system_to_jsonl(two) + "\n" +
                                      to_jsonl(EndMetrics{.step = 2, .seconds = 9, .peak_memory_bytes = 5 << 20}) +
                                      "\n");
  EXPECT_THAT(summarize(folder.path()),
              AllOf(HasSubstr("2 of 2"), HasSubstr("tokens trained on  20\n"), HasSubstr("2.0s in steps"),
                    HasSubstr("9.0s for the whole"), HasSubstr("5.00 MiB")));
  write_plots(folder.path(), folder.path());
  EXPECT_THAT(read_file(folder / "plots" / "throughput.svg"), HasSubstr(">2</text>"));
}

TEST(Report, BrokenLinesArePassedOverAndSaid) {
  TemporaryFolder folder;
  put_file(folder / kMetricsFile, fake_run(3) + "{\"kind\":\n" + "{\"kind\":\"tr");
  EXPECT_THAT(summarize(folder.path()),
              AllOf(HasSubstr("3 of 3"), HasSubstr("2 lines of metrics.jsonl were passed over"), HasSubstr("line 4: "),
                    HasSubstr("line 5: cut short")));
  put_file(folder / kMetricsFile, fake_run(3) + "x\n");
  EXPECT_THAT(summarize(folder.path()), HasSubstr("1 line of metrics.jsonl was passed over, because it is no record"));
}

TEST(Report, ComparesRunsAndTheOptionsThatDiffer) {
  TemporaryFolder folder;
  put_file(folder / "a" / kMetricsFile, fake_run(30));
  put_file(folder / "b" / kMetricsFile, fake_run(60, false));
  put_file(folder / "a" / "config.toml", "# c\nlr = 1e-05\nseed = 1\noutput_dir = \"a\"\n");
  put_file(folder / "b" / "config.toml", "lr = 2e-05\nseed = 1\noutput_dir = \"b\"\nadded = 3\n");
  const auto text = compare({folder / "a/", folder / "b"}, folder / "out");
  EXPECT_THAT(
      text, AllOf(HasSubstr("30 of 30"), HasSubstr("60 of 60"), HasSubstr("training loss"), HasSubstr("peak memory")));
  EXPECT_THAT(text, HasSubstr("options that differ\n"
                              "option  a      b\n"
                              "added   -      3\n"
                              "lr      1e-05  2e-05\n"));
  EXPECT_THAT(read_file(folder / "out" / "comparison" / "loss.svg"),
              AllOf(HasSubstr(">a: training, smoothed</text>"), HasSubstr(">b: training, smoothed</text>"),
                    HasSubstr("smoothed: mean of a tenth")));
}

TEST(Report, WhatIsNoRunIsNamedWithWhatToType) {
  TemporaryFolder folder;
  const auto refusal = [](const std::filesystem::path& path) {
    return message_of<ConfigError>([&] { summarize(path); });
  };
  EXPECT_THAT(refusal(folder.path()), HasSubstr("not a run: it holds no metrics.jsonl"));
  EXPECT_THAT(refusal(folder / "absent"), HasSubstr("there is no such folder"));
  put_file(folder / "model" / "config.json", "{}");
  EXPECT_THAT(refusal(folder / "model"), HasSubstr("is a model, not a run"));
  put_file(folder / "runs" / "20260101_00-00-00" / kMetricsFile, fake_run(2));
  put_file(folder / "runs" / "20260102_00-00-00" / kMetricsFile, fake_run(3));
  put_file(folder / "runs" / "20260102_00-00-00" / "final" / "adapter_config.json", "{}");
  const auto newest = (folder / "runs" / "20260102_00-00-00").string();
  EXPECT_THAT(refusal(folder / "runs"),
              AllOf(HasSubstr("folder of 2 runs"), HasSubstr("20260101_00-00-00: 2 of 2 steps, loss "),
                    HasSubstr("Report on the latest: lorica report " + newest), HasSubstr("Compare the last two: ")));
  for (const char* part : {"final", "final/", "metrics.jsonl"}) {
    EXPECT_THAT(refusal(newest + "/" + part), HasSubstr("is a part of a run. Type: lorica report " + newest));
  }
  put_file(folder / kMetricsFile, "");
  EXPECT_THAT(message_of<DataError>([&] { summarize(folder.path()); }), HasSubstr("no records"));
}

}  // namespace
}  // namespace lorica::train
