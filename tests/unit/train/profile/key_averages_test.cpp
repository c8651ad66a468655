// The tables of a recording: self times add up to what the outermost spans took, whatever is shown.
#include "train/profile/key_averages.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "base/strings.hpp"
#include "train/profile/recordings.hpp"

namespace lorica::train {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// The line that ends in `name`.
std::string line_of(const std::string& table, const std::string& name) {
  for (const auto& line : split(table, '\n')) {
    if (line.ends_with("  " + name)) return std::string(trim(std::regex_replace(line, std::regex(" +"), " ")));
  }
  return "no line of " + name;
}

engine::Recording step() {
  engine::Recording recording;
  const int step = add_span(recording, "step 1", -1, 0, 1000);
  const int layer = add_span(recording, "layer 0: forward", step, 100, 700);
  add_span(recording, "aten::mul", layer, 100, 300, false);
  add_span(recording, "aten::mul", layer, 400, 500, false);
  return recording;
}

TEST(KeyAverages, SelfTimeIsWithoutWhatIsInside) {
  const auto text = key_averages(step(), "Step 1");
  EXPECT_THAT(text, testing::StartsWith("Step 1\n"));
  EXPECT_EQ(line_of(text, "step 1"), "0.400 40.00 1.000 1 1000.0 step 1");
  EXPECT_EQ(line_of(text, "layer 0: forward"), "0.300 30.00 0.600 1 600.0 layer 0: forward");
  EXPECT_EQ(line_of(text, "aten::mul"), "0.300 30.00 0.300 2 150.0 aten::mul");
  EXPECT_EQ(line_of(text, "(sum)"), "1.000 100.00 (sum)");
  EXPECT_THAT(text, Not(HasSubstr("On the device")));
}

TEST(KeyAverages, ANameInsideItselfCountsOnceInItsTotal) {
  engine::Recording recording;
  const int outer = add_span(recording, "aten::sum", -1, 0, 100, false);
  add_span(recording, "aten::sum", outer, 10, 90, false);
  EXPECT_EQ(line_of(key_averages(recording, ""), "aten::sum"), "0.100 100.00 0.100 2 50.0 aten::sum");
}

TEST(KeyAverages, ShowsTwentyFiveAndTheSumOfTheRest) {
  engine::Recording recording;
  for (int i = 0; i < 40; ++i) add_span(recording, fmt::format("op {:02}", i), -1, 1000 * i, 1000 * i + 100 + i, false);
  const auto text = key_averages(recording, "");
  EXPECT_THAT(text, HasSubstr("the 25 of 40 entries"));
  EXPECT_THAT(text, HasSubstr("op 15"));
  EXPECT_THAT(text, Not(HasSubstr("op 14")));
  EXPECT_EQ(line_of(text, "(all others)").substr(0, 5), "1.605") << "15 · 100 + 0 + … + 14";
  EXPECT_EQ(line_of(text, "(sum)").substr(0, 5), "4.780") << "40 · 100 + 0 + … + 39";
}

TEST(KeyAverages, ShapesTellEntriesApart) {
  engine::Recording recording;
  for (const char* shapes : {"[2, 3]", "[4, 3]"}) {
    add_span(recording, "aten::mul", -1, 0, 100, false);
    recording.spans.back().shapes = shapes;
  }
  const auto text = key_averages(recording, "");
  EXPECT_EQ(line_of(text, "[2, 3]"), "0.100 50.00 0.100 1 100.0 aten::mul [2, 3]");
  EXPECT_THAT(text, HasSubstr("the 2 of 2 entries"));
}

TEST(KeyAverages, TheDeviceHasATableOfItsOwn) {
  auto recording = step();
  add_span(recording, "gemm_kernel", -1, 150, 650, false);
  recording.spans.back().on_device = true;
  const auto text = key_averages(recording, "");
  EXPECT_THAT(text, HasSubstr("On the device: the 1 of 1 entries"));
  EXPECT_THAT(text, HasSubstr("On the CPU: the 3 of 3 entries"));
  EXPECT_EQ(line_of(text, "gemm_kernel"), "0.500 100.00 0.500 1 500.0 gemm_kernel");
  EXPECT_THAT(folded_stacks(recording), Not(HasSubstr("gemm_kernel")));
}

TEST(KeyAverages, WorkOfAnotherThreadIsNotTakenOff) {
  auto recording = step();
  recording.spans[1].thread = 7;
  EXPECT_EQ(line_of(key_averages(recording, ""), "step 1").substr(0, 5), "1.000");
}

TEST(FoldedStacks, NamesEveryStackWithItsOwnTime) {
  EXPECT_EQ(folded_stacks(step()), "step 1 400\nstep 1;layer 0: forward 300\nstep 1;layer 0: forward;aten::mul 300\n");
}

}  // namespace
}  // namespace lorica::train
