#include "base/wording.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace lorica {
namespace {

TEST(Wording, CountsAgreeWithTheirNouns) {
  EXPECT_EQ(counted(1, "step"), "1 step");
  EXPECT_EQ(counted(0, "step"), "0 steps");
  EXPECT_EQ(counted(12345, "step"), "12,345 steps");
  EXPECT_EQ(counted(2, "process"), "2 processes");
  EXPECT_EQ(counted(2, "micro-batch"), "2 micro-batches");
  EXPECT_EQ(counted(2, "copy"), "2 copies");
  EXPECT_EQ(counted(2, "key"), "2 keys");
  EXPECT_EQ(counted(1, "copy"), "1 copy");
}

TEST(Wording, WhatRoundsToNothingHasNoSign) {
  EXPECT_EQ(percent(0.125, 1), "12.5 %");
  EXPECT_EQ(percent(-0.00001, 2), "0.00 %");
  EXPECT_EQ(percent(-0.25, 0), "-25 %");
  EXPECT_EQ(percent(std::nan(""), 0), "? %");
  EXPECT_EQ(percent_change(2, 1.5), "-25.00 %");
  EXPECT_EQ(percent_change(2, 2.5), "+25.00 %");
  EXPECT_EQ(percent_change(2, 2 - 1e-7), "0.00 %");
  EXPECT_EQ(percent_change(2, 2 + 1e-7), "0.00 %");
  EXPECT_EQ(percent_change(0, 1), "?");
}

}  // namespace
}  // namespace lorica
