// Checkpoints on disk: listed by step, complete or absent, pruned only after a newer one stands, damaged ones passed
// over.
#include "train/checkpoints.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/temporary_folder.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

using test::message_of;
using test::put_file;
using test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

nlohmann::json state_of(std::int64_t step) {
  return {{"step", step}, {"sampler", nlohmann::json::object()}};
}

void save(const fs::path& run, std::int64_t step, std::int64_t keep) {
  save_checkpoint(run, step, state_of(step), keep,
                  [&](const fs::path& folder) { put_file(folder / "weights", std::to_string(step)); });
}

std::vector<std::int64_t> steps_in(const fs::path& run) {
  std::vector<std::int64_t> steps;
  for (const auto& [step, path] : list_checkpoints(run)) {
    EXPECT_EQ(path, run / ("checkpoint-" + std::to_string(step)));
    steps.push_back(step);
  }
  return steps;
}

std::vector<std::string> entries(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Checkpoints, AreListedByStepNotByName) {
  TemporaryFolder run;
  for (const auto* name : {"checkpoint-9/x", "checkpoint-10/x", "checkpoint-100/x", "checkpoint-/x", "checkpoint-7b/x",
                           "checkpoint-99999999999999999999/x", "final/x", "Checkpoint-1/x"}) {
    put_file(run / name, "");
  }
  put_file(run / "checkpoint-5", "a file, not a folder");
  EXPECT_THAT(steps_in(run.path()), ElementsAre(9, 10, 100));
  EXPECT_THAT(list_checkpoints(run / "missing"), IsEmpty());
}

TEST(Checkpoints, HoldStateAndContent) {
  TemporaryFolder run;
  save(run.path(), 20, 0);
  EXPECT_THAT(entries(run / "checkpoint-20"), ElementsAre(kTrainerStateFile, "weights"));
  EXPECT_EQ(read_checkpoint_state(run / "checkpoint-20"), state_of(20));
  EXPECT_THAT(entries(run.path()), ElementsAre("checkpoint-20")) << "nothing temporary is left";
}

TEST(Checkpoints, KeepTheNewest) {
  TemporaryFolder run;
  for (const std::int64_t step : {8, 9, 10, 11}) save(run.path(), step, 2);
  EXPECT_THAT(steps_in(run.path()), ElementsAre(10, 11));
  for (const std::int64_t step : {12, 13}) save(run.path(), step, 0);
  EXPECT_THAT(steps_in(run.path()), ElementsAre(10, 11, 12, 13)) << "0 keeps all";
}

// A full disk in the middle of saving: the older checkpoints are as they were, and nothing half-written bears a name.
TEST(Checkpoints, AFailedSaveLosesNothing) {
  TemporaryFolder run;
  save(run.path(), 1, 1);
  EXPECT_THROW(save_checkpoint(run.path(), 2, state_of(2), 1,
                               [](const fs::path& folder) {
                                 put_file(folder / "weights", "half");
                                 throw FileError("no space left");
                               }),
               FileError);
  EXPECT_THAT(entries(run.path()), ElementsAre("checkpoint-1"));
  EXPECT_EQ(read_checkpoint_state(run / "checkpoint-1"), state_of(1));
}

TEST(Checkpoints, SavingAStepAgainReplacesIt) {
  TemporaryFolder run;
  put_file(run / "checkpoint-3/stale", "");
  save(run.path(), 3, 0);
  EXPECT_THAT(entries(run / "checkpoint-3"), ElementsAre(kTrainerStateFile, "weights"));
}

TEST(Checkpoints, AStateThatIsNoneIsRefused) {
  TemporaryFolder run;
  const auto file = run / "checkpoint-1/trainer_state.json";
  for (const auto* text : {"[]", "{}", R"({"step": 1})", R"({"sampler": {}})", R"({"step": "1", "sampler": {}})"}) {
    put_file(file, text);
    EXPECT_THAT(message_of<ModelError>([&] { read_checkpoint_state(run / "checkpoint-1"); }), HasSubstr(file.string()));
  }
  put_file(file, R"({"step": 1, "sam)");
  EXPECT_THAT(message_of<ModelError>([&] { read_checkpoint_state(run / "checkpoint-1"); }), HasSubstr(file.string()));
  fs::remove(file);
  EXPECT_THAT(message_of<FileError>([&] { read_checkpoint_state(run / "checkpoint-1"); }), HasSubstr(file.string()));
}

TEST(Checkpoints, TheNewestWholeOneIsFound) {
  TemporaryFolder run;
  const auto whole = [](const fs::path& path) { read_checkpoint_state(path); };
  EXPECT_FALSE(newest_checkpoint(run.path(), whole));
  for (const std::int64_t step : {2, 10, 11}) save(run.path(), step, 0);
  EXPECT_EQ(newest_checkpoint(run.path(), whole), run / "checkpoint-11");
  put_file(run / "checkpoint-11/trainer_state.json", "{");
  EXPECT_EQ(newest_checkpoint(run.path(), whole), run / "checkpoint-10");
  fs::remove(run / "checkpoint-10/trainer_state.json");
  EXPECT_EQ(newest_checkpoint(run.path(), whole), run / "checkpoint-2");
  put_file(run / "checkpoint-2/trainer_state.json", "null");
  EXPECT_FALSE(newest_checkpoint(run.path(), whole));
}

TEST(Checkpoints, AFolderHoldsARun) {
  for (const auto* name : {"metrics.jsonl", "final/adapter_config.json", "checkpoint-4/x"}) {
    TemporaryFolder folder;
    put_file(folder / "notes.txt", "the user's own");
    put_file(folder / "checkpoint-none/x", "");
    EXPECT_FALSE(holds_run(folder.path()));
    put_file(folder / name, "");
    EXPECT_TRUE(holds_run(folder.path())) << name;
  }
  EXPECT_FALSE(holds_run("no/such/folder"));
}

TEST(Checkpoints, LeftoversOfAKilledRunAreRemoved) {
  TemporaryFolder run;
  put_file(run / ".checkpoint-3.123.tmp/weights", "half");
  put_file(run / ".metrics.jsonl.9.tmp", "half");
  put_file(run / ".hidden", "not ours");
  put_file(run / "a.tmp", "not ours");
  save(run.path(), 2, 0);
  remove_leftovers(run.path());
  EXPECT_THAT(entries(run.path()), ElementsAre(".hidden", "a.tmp", "checkpoint-2"));
}

}  // namespace
}  // namespace lorica::train
