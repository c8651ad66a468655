// The profiler of a run without a run: which steps it records, which files it makes, what it refuses, and that nothing
// it can't do stops anybody. tests/e2e/test_profiling.py drives it in real runs.
#include "train/profile/run_profiler.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/temporary_folder.hpp"
#include "engine/scope.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::set<std::string> files_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) names.insert(entry.path().lexically_relative(folder).string());
  }
  return names;
}

class RunProfilerTest : public ::testing::Test {
 protected:
  RunProfilerTest() {
    config_.profile = true;
    config_.repeat = 1;
    place_.run_folder = folder_.path();
    place_.end_step = 6;
  }
  /// Makes these steps, each with a scope of its number.
  void run(std::int64_t first, std::int64_t end) {
    place_.first_step = first;
    RunProfiler profiler(config_, place_, [] { return engine::MemoryReport{}; });
    for (auto step = first; step < end; ++step) {
      profiler.begin(step);
      { const engine::Scope scope("step", step + 1); }
      profiler.end(step);
    }
    profiler.finish();
  }
  std::string table(const std::string& iteration) const {
    return read_file(folder_ / ("profiles/" + iteration + "/rank0_key_averages.txt"));
  }

  TemporaryFolder folder_;
  config::Config config_;
  RunProfiler::Place place_;
};

TEST_F(RunProfilerTest, RecordsTheStepsOfItsSchedule) {
  run(0, 6);
  EXPECT_THAT(files_in(folder_.path()),
              ElementsAre("profiles/iteration_3/rank0.trace.json", "profiles/iteration_3/rank0_key_averages.txt"));
  EXPECT_THAT(table("iteration_3"), HasSubstr("Steps 2 to 3, rank 0 of 1 on cpu"));
  EXPECT_THAT(table("iteration_3"), HasSubstr("the 2 of 2 entries"));
}

TEST_F(RunProfilerTest, ARunThatEndsMeanwhileWritesWhatItHas) {
  run(0, 2);
  EXPECT_THAT(table("iteration_2"), HasSubstr("Step 2, rank 0"));
}

TEST_F(RunProfilerTest, OneThatEndsBeforeWritesNothing) {
  run(0, 1);
  EXPECT_THAT(files_in(folder_.path()), IsEmpty());
}

TEST_F(RunProfilerTest, MemoryIsThatOfTheFirstStepHereAndOfRankZero) {
  config_.profile = false;
  config_.profile_memory = true;
  run(4, 6);
  EXPECT_THAT(files_in(folder_.path()), ElementsAre("profiles/memory_snapshot.html", "profiles/memory_snapshot.json"));
  EXPECT_THAT(read_file(folder_ / "profiles/memory_snapshot.html"), HasSubstr("Step 5, rank 0"));
  fs::remove_all(folder_ / "profiles");
  place_.rank = 1;
  run(0, 6);
  EXPECT_THAT(files_in(folder_.path()), IsEmpty());
}

TEST_F(RunProfilerTest, WhatIsThereIsKeptIfItMustNotBeReplaced) {
  config_.overwrite_profiling_output = false;
  create_folder(folder_ / "profiles/iteration_3");
  write_file(folder_ / "profiles/iteration_3/rank0_key_averages.txt", "old");
  run(0, 6);
  EXPECT_EQ(table("iteration_3"), "old");
  EXPECT_EQ(files_in(folder_.path()).size(), 1U);
  config_.overwrite_profiling_output = true;
  run(0, 6);
  EXPECT_NE(table("iteration_3"), "old");
}

TEST_F(RunProfilerTest, AFolderThatVanishedStopsNobody) {
  write_file(folder_ / "profiles", "a file where a folder should be");
  EXPECT_NO_THROW(run(0, 6));
  EXPECT_THAT(files_in(folder_.path()), ElementsAre("profiles"));
}

TEST_F(RunProfilerTest, MemoryOfMpsIsRefused) {
  place_.device = "mps";
  const auto make = [&] { RunProfiler(config_, place_, [] { return engine::MemoryReport{}; }); };
  EXPECT_NO_THROW(make());
  config_.export_memory_timeline = true;
  EXPECT_THROW(make(), ConfigError);
  config_.export_memory_timeline = false;
  config_.profile_memory = true;
  EXPECT_THROW(make(), ConfigError);
}

TEST_F(RunProfilerTest, AnAbsoluteFolderStandsForItself) {
  config_.profiling_output = "/somewhere/else";
  EXPECT_EQ(profiling_folder(config_, "/run"), "/somewhere/else");
  config_.profiling_output = "inside";
  EXPECT_EQ(profiling_folder(config_, "/run"), "/run/inside");
}

}  // namespace
}  // namespace lorica::train
