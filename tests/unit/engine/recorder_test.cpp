// Recordings of LibTorch's profiler: nested scopes, shapes, memory that agrees with the allocator's own count, and a
// trace that other programs can read.
#include "engine/recorder.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/files.hpp"
#include "engine/scope.hpp"
#include "engine/torch/host_allocator.hpp"
#include "model/scope.hpp"

namespace lorica::engine {
namespace {

const Span& span_named(const Recording& recording, const std::string& name) {
  static const Span kNone;
  for (const auto& span : recording.spans) {
    if (span.name == name) return span;
  }
  ADD_FAILURE() << "no span " << name;
  return kNone;
}

std::string parent_of(const Recording& recording, const std::string& name) {
  const int parent = span_named(recording, name).parent;
  return parent < 0 ? "" : recording.spans[static_cast<std::size_t>(parent)].name;
}

TEST(Recorder, ScopesAndOperationsNest) {
  Recorder recorder({});
  recorder.start();
  {
    const Scope step("step", 3);
    const model::Scope layer("layer {}{}", 1, scopes::kForward);
    const auto x = at::ones({2, 3});
    const model::Operation operation("lorica::test", {x});
    at::mul(x, x);
  }
  const auto recording = recorder.stop();
  EXPECT_EQ(parent_of(recording, "step 3"), "");
  EXPECT_EQ(parent_of(recording, "layer 1: forward"), "step 3");
  EXPECT_EQ(parent_of(recording, "lorica::test"), "layer 1: forward");
  EXPECT_EQ(parent_of(recording, "aten::mul"), "lorica::test");
  EXPECT_TRUE(span_named(recording, "step 3").scope);
  EXPECT_FALSE(span_named(recording, "lorica::test").scope);
  EXPECT_EQ(span_named(recording, "aten::mul").shapes, "") << "shapes were not asked for";
  for (const auto& span : recording.spans) {
    EXPECT_LE(recording.start_ns, span.start_ns);
    EXPECT_LE(span.end_ns, recording.end_ns);
    if (span.parent < 0) continue;
    const auto& parent = recording.spans[static_cast<std::size_t>(span.parent)];
    EXPECT_LE(parent.start_ns, span.start_ns) << span.name;
    EXPECT_LE(span.end_ns, parent.end_ns) << span.name;
  }
  EXPECT_TRUE(recording.memory.empty()) << "memory was not asked for";
}

TEST(Recorder, ScopesOutsideARecordingAreNotInIt) {
  { const Scope before("before"); }
  Recorder recorder({});
  recorder.start();
  { const Scope inside("inside"); }
  const auto recording = recorder.stop();
  { const Scope after("after"); }
  ASSERT_EQ(recording.spans.size(), 1U);
  EXPECT_EQ(recording.spans.front().name, "inside");
}

TEST(Recorder, ShapesOfInputs) {
  Recorder::Options options;
  options.shapes = true;
  Recorder recorder(options);
  const auto x = at::ones({2, 3}), y = at::ones({3, 4});
  recorder.start();
  { const model::Operation operation("lorica::test", {x, y}); }
  at::mm(x, y);
  const auto recording = recorder.stop();
  EXPECT_EQ(span_named(recording, "lorica::test").shapes, "[2, 3], [3, 4]");
  EXPECT_EQ(span_named(recording, "aten::mm").shapes, "[2, 3], [3, 4]");
}

TEST(Recorder, MemoryAgreesWithTheAllocator) {
  use_host_allocator();
  Recorder::Options options;
  options.memory = true;
  Recorder recorder(options);
  recorder.start();
  const auto before = host_memory();
  std::int64_t most = 0;
  {
    const Scope scope("work");
    auto a = at::empty({1 << 20}, at::kByte);
    auto b = at::empty({3 << 20}, at::kByte);
    most = static_cast<std::int64_t>(host_memory().live - before.live);
    a.reset();
    b = at::empty({100}, at::kByte);  // from malloc, which LibTorch reports itself
  }
  const auto recording = recorder.stop();
  std::int64_t now = 0, peak = 0;
  for (const auto& event : recording.memory) {
    now += event.bytes;
    peak = std::max(peak, now);
    ASSERT_GE(event.span, 0);
    EXPECT_THAT(event.address, testing::Ne(0U));
  }
  EXPECT_EQ(now, 0) << "all was given back";
  EXPECT_GE(most, 4 << 20);
  EXPECT_LE(most, (4 << 20) + 2 * 4096) << "LibTorch asks for a few bytes more; memory is in whole pages";
  // The small tensor is made while the 3 MiB are still there, but after the 1 MiB are gone.
  EXPECT_EQ(peak, most);
  EXPECT_EQ(recording.memory.size(), 6U);
}

TEST(Recorder, TheTraceIsJsonThatNamesTheProcess) {
  Recorder::Options options;
  options.rank = 1;
  options.processes = 4;
  Recorder recorder(options);
  const auto path = std::filesystem::path(testing::TempDir()) / "lorica_recorder_test.trace.json";
  for (int i = 0; i < 2; ++i) {  // one recorder serves again
    recorder.prepare();
    recorder.start();
    { const Scope scope("round", i); }
    recorder.stop();
    recorder.save_trace(path);
    const auto trace = nlohmann::json::parse(read_file(path));
    EXPECT_EQ(trace["distributedInfo"]["rank"], 1);
    EXPECT_EQ(trace["distributedInfo"]["world_size"], 4);
    const auto& events = trace["traceEvents"];
    EXPECT_TRUE(std::any_of(events.begin(), events.end(), [&](const auto& event) {
      return event.value("name", "") == "round " + std::to_string(i) && event.value("ph", "") == "X";
    }));
  }
  std::filesystem::remove(path);
}

TEST(Recorder, ATraceThatCantBeWrittenIsAnError) {
  Recorder recorder({});
  recorder.start();
  recorder.stop();
  EXPECT_THROW(recorder.save_trace("/dev/null/there/is/none.json"), FileError);
}

TEST(Recorder, OneThatWasOnlyPreparedLeavesNothingBehind) {
  {
    Recorder recorder({});
    recorder.prepare();
  }
  Recorder next({});
  next.start();
  { const Scope scope("here"); }
  EXPECT_EQ(next.stop().spans.size(), 1U);
}

TEST(Recorder, OneThatIsForgottenStops) {
  {
    Recorder recorder({});
    recorder.start();
  }
  Recorder next({});
  next.start();
  EXPECT_TRUE(next.running());
  next.stop();
  EXPECT_FALSE(next.running());
}

}  // namespace
}  // namespace lorica::engine
