// What memory is for, from where it was made and when it was given back.
#include "train/profile/memory_timeline.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "train/profile/recordings.hpp"

namespace lorica::train {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::int64_t bytes(const MemoryTimeline::Point& point, Purpose purpose) {
  return point.bytes[static_cast<std::size_t>(purpose)];
}

/// A step of one layer that keeps 100 bytes for backward, which recomputes 50 and makes a gradient of 30.
engine::Recording step() {
  engine::Recording recording;
  const int step = add_span(recording, "step 1", -1, 0, 1000);
  const int forward = add_span(recording, "layer 0: forward", step, 100, 200);
  const int norm = add_span(recording, "lorica::rms_norm", forward, 110, 150, false);
  const int backward = add_span(recording, "layer 0: backward", step, 300, 500);
  const int again = add_span(recording, "layer 0: recomputation", backward, 310, 350);
  const int optimizer = add_span(recording, "optimizer", step, 600, 700);
  add_memory(recording, 120, 0xa, 100, norm);
  add_memory(recording, 130, 0xb, 7, norm);
  add_memory(recording, 140, 0xb, -7, norm);
  add_memory(recording, 320, 0xc, 50, again);
  add_memory(recording, 360, 0xd, 30, backward);
  add_memory(recording, 400, 0xc, -50, backward);
  add_memory(recording, 410, 0xa, -100, backward);
  add_memory(recording, 620, 0xe, 12, optimizer);
  add_memory(recording, 650, 0xd, -30, optimizer);
  return recording;
}

TEST(MemoryTimeline, DividesByScopeAndWhetherItIsOutlived) {
  const auto timeline = memory_timeline(step(), {1000, 20, 0, 40, 5});
  const auto& points = timeline.points;
  ASSERT_EQ(points.size(), 10U);
  EXPECT_EQ(points[0].total(), 1065);
  EXPECT_EQ(bytes(points[0], Purpose::weights), 1000);
  EXPECT_EQ(bytes(points[2], Purpose::activations), 100);
  EXPECT_EQ(bytes(points[2], Purpose::temporary), 7) << "given back in the same forward pass";
  EXPECT_EQ(bytes(points[3], Purpose::temporary), 0);
  EXPECT_EQ(bytes(points[5], Purpose::recomputed), 50);
  EXPECT_EQ(bytes(points[5], Purpose::gradients), 30) << "it outlives the backward pass";
  EXPECT_EQ(timeline.peak, 5U);
  EXPECT_EQ(points[5].total(), 1065 + 180);
  EXPECT_EQ(timeline.peak_scope, "step 1 > layer 0: backward");
  const auto& last = points.back();
  EXPECT_EQ(bytes(last, Purpose::optimizer), 52);
  EXPECT_EQ(last.total(), 1065 + 12);
  EXPECT_EQ(bytes(last, Purpose::gradients), 0);
}

TEST(MemoryTimeline, WhatIsGivenBackWithoutHavingBeenCountedWasThere) {
  engine::Recording recording;
  add_memory(recording, 10, 0xa, 8, -1);
  add_memory(recording, 20, 0xb, -64, -1);
  const auto timeline = memory_timeline(recording, {100, 0, 0, 0, 4});
  EXPECT_EQ(bytes(timeline.points.front(), Purpose::other), 4 + 52);
  EXPECT_EQ(bytes(timeline.points.back(), Purpose::other), 0);
  EXPECT_EQ(timeline.points[timeline.peak].total(), 164);
}

TEST(MemoryTimeline, GatheredParametersAreNoTemporaries) {
  engine::Recording recording;
  const int gather = add_span(recording, "gather parameters", -1, 0, 10);
  add_memory(recording, 1, 0xa, 8, gather);
  add_memory(recording, 2, 0xa, -8, gather);
  EXPECT_EQ(bytes(memory_timeline(recording, {}).points[1], Purpose::gathered), 8);
}

TEST(MemoryTimeline, TheFiguresAreInTheJson) {
  const auto document = nlohmann::json::parse(to_json(memory_timeline(step(), {1000, 20, 0, 40, 5}), "Step 1"));
  EXPECT_EQ(document["purposes"].size(), kPurposes);
  EXPECT_EQ(document["peak"]["bytes"], 1245);
  EXPECT_EQ(document["peak"]["us"], 360);
  EXPECT_EQ(document["peak"]["parts"]["activations kept"], 100);
  ASSERT_EQ(document["points"].size(), 10U);
  EXPECT_EQ(document["points"][9][0], 650);
  EXPECT_EQ(document["points"][9].size(), 1 + kPurposes);
}

TEST(MemoryTimeline, EveryEventIsInTheHistory) {
  const auto document = nlohmann::json::parse(memory_events_json(step(), {1000, 20, 0, 40, 5}, "Step 1"));
  EXPECT_EQ(document["held_before"]["weights"], 1000);
  ASSERT_EQ(document["events"].size(), 9U);
  const auto& given_back = document["events"][2];
  EXPECT_EQ(given_back["bytes"], -7);
  EXPECT_EQ(given_back["address"], "0xb");
  EXPECT_EQ(given_back["purpose"], "temporary");
  EXPECT_EQ(given_back["scope"], "step 1 > layer 0: forward > lorica::rms_norm");
}

TEST(MemoryTimeline, ThePageNeedsNothingElse) {
  const auto page = to_html(memory_timeline(step(), {1 << 20, 20, 0, 40, 5}), "Step 1 <of 2>");
  EXPECT_THAT(page, HasSubstr("Step 1 &lt;of 2&gt;"));
  EXPECT_THAT(page, HasSubstr("<title>activations kept</title>"));
  EXPECT_THAT(page, Not(HasSubstr("src=")));
  EXPECT_THAT(page, Not(HasSubstr("href=")));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST(MemoryTimeline, NothingHappenedIsAPlotToo) {
  EXPECT_THAT(to_html(memory_timeline({}, {}), "Step 1"), HasSubstr("at most 0 B"));
}

}  // namespace
}  // namespace lorica::train
