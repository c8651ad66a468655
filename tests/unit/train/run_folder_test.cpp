// The run's folder: chosen, refused when taken, cleared of ours alone, resumed from; and the final model's checks.
#include "train/run_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/temporary_folder.hpp"
#include "io/safetensors.hpp"
#include "train/checkpoints.hpp"

namespace fs = std::filesystem;

namespace lorica::train {
namespace {

using test::message_of;
using test::put_file;
using test::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Not;

/// What is logged while it lives.
class CapturedLog {
 public:
  CapturedLog() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_st>(text_)));
  }
  ~CapturedLog() { spdlog::set_default_logger(before_); }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  std::shared_ptr<spdlog::logger> before_;
};

void whole_checkpoint(const fs::path& run, std::int64_t step) {
  save_checkpoint(run, step, {{"step", step}, {"sampler", 0}}, 0, [](const fs::path& folder) {
    const float value = 1;
    io::save_safetensors(folder / "adapter_model.safetensors", {{"x", io::Dtype::f32, {1}, &value}});
  });
}

config::Config config_for(const fs::path& output, const std::string& resume = "") {
  config::Config config;
  config.model_name = "some/model";
  config.output_dir = output.string();
  config.resume = resume;
  return config;
}

TEST(RunFolder, ANewRunTakesAnUnusedFolder) {
  TemporaryFolder folder;
  EXPECT_EQ(choose_run_folder(config_for(folder / "new/deep")), folder / "new/deep");
  EXPECT_FALSE(fs::exists(folder / "new")) << "nothing is created yet";
  put_file(folder / "own/notes.txt", "");
  EXPECT_EQ(choose_run_folder(config_for(folder / "own")), folder / "own");
}

TEST(RunFolder, ATakenOneIsRefused) {
  TemporaryFolder folder;
  put_file(folder / "metrics.jsonl", "");
  auto config = config_for(folder.path());
  EXPECT_THAT(message_of<ConfigError>([&] { choose_run_folder(config); }),
              AllOf(HasSubstr("holds another run"), HasSubstr("--resume"), HasSubstr("--overwrite_output_dir")));
  config.overwrite_output_dir = true;
  EXPECT_EQ(choose_run_folder(config), folder.path());
  config.overwrite_output_dir = false;
  config.timestamp_output_dir = true;
  EXPECT_THAT(choose_run_folder(config).filename().string(), MatchesRegex("[0-9]{8}_[0-9]{2}-[0-9]{2}-[0-9]{2}"));
}

TEST(RunFolder, AFileInItsPlaceIsRefused) {
  TemporaryFolder folder;
  put_file(folder / "file", "");
  EXPECT_THAT(message_of<FileError>([&] { choose_run_folder(config_for(folder / "file")); }), HasSubstr("is a file"));
  EXPECT_THAT(message_of<FileError>([&] { choose_run_folder(config_for(folder / "file/below")); }),
              HasSubstr("is a file"));
}

TEST(RunFolder, KeepsTheAccountOfItsInputs) {
  TemporaryFolder folder;
  Account account;
  account.leave_aside(Account::Kind::row, "rows.jsonl", "i\xFF", "nothing reads it", 3);
  const CapturedLog log;
  record_account(account, folder.path());
  EXPECT_THAT(log.text(), HasSubstr("rows.jsonl"));
  const auto kept = Account::from_json(nlohmann::ordered_json::parse(read_file(folder / "account.json")));
  ASSERT_EQ(kept.entries().size(), 1u);
  EXPECT_EQ(kept.entries()[0].count, 3);
}

TEST(RunFolder, ResumesFromTheNewestWholeCheckpoint) {
  TemporaryFolder folder;
  EXPECT_THAT(message_of<ConfigError>([&] { choose_run_folder(config_for(folder.path(), "latest")); }),
              AllOf(HasSubstr("no complete checkpoint"), HasSubstr("--save_steps")));
  whole_checkpoint(folder.path(), 5);
  whole_checkpoint(folder.path(), 15);
  const auto config = config_for(folder.path(), "latest");
  EXPECT_EQ(choose_run_folder(config), folder.path());
  EXPECT_EQ(find_checkpoint(config, folder.path()), folder / "checkpoint-15");

  // Cut short: passed over, with a warning that names it.
  fs::resize_file(folder / "checkpoint-15/adapter_model.safetensors", 20);
  CapturedLog log;
  EXPECT_EQ(find_checkpoint(config, folder.path()), folder / "checkpoint-5");
  EXPECT_THAT(log.text(), AllOf(HasSubstr("checkpoint-15"), HasSubstr("damaged")));
  fs::remove(folder / "checkpoint-5/adapter_model.safetensors");
  EXPECT_THROW(choose_run_folder(config), ConfigError);
}

TEST(RunFolder, ResumesFromANamedCheckpoint) {
  TemporaryFolder folder;
  whole_checkpoint(folder.path(), 5);
  whole_checkpoint(folder.path(), 15);
  for (const std::string end : {"", "/"}) {
    const auto config = config_for(folder / "elsewhere", (folder / "checkpoint-5").string() + end);
    EXPECT_EQ(find_checkpoint(config, folder.path()), folder / "checkpoint-5") << "'" << end << "'";
    EXPECT_EQ(choose_run_folder(config), folder.path()) << "'" << end << "'";
  }
  const auto missing = config_for(folder.path(), (folder / "checkpoint-6").string());
  EXPECT_THAT(message_of<ConfigError>([&] { find_checkpoint(missing, folder.path()); }), HasSubstr("checkpoint-6"));
  put_file(folder / "checkpoint-15/trainer_state.json", "{}");
  const auto damaged = config_for(folder.path(), (folder / "checkpoint-15").string());
  EXPECT_THROW(find_checkpoint(damaged, folder.path()), ModelError);
}

TEST(RunFolder, FindsTheNewestOfTimeStampedRuns) {
  TemporaryFolder folder;
  whole_checkpoint(folder / "20250101_00-00-00", 50);
  whole_checkpoint(folder / "20260101_00-00-00", 3);
  EXPECT_EQ(choose_run_folder(config_for(folder.path(), "latest")), folder / "20260101_00-00-00");
}

TEST(RunFolder, OverwritingRemovesTheRunAndNothingElse) {
  TemporaryFolder folder;
  for (const auto* name : {"metrics.jsonl", "final/x", "plots/x", "runs/x", ".x.tmp", "notes.txt", "data/rows.jsonl"}) {
    put_file(folder / name, "");
  }
  whole_checkpoint(folder.path(), 5);
  auto config = config_for(folder.path());
  config.overwrite_output_dir = true;
  prepare_run_folder(config, folder.path());
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(folder.path())) left.push_back(entry.path().filename().string());
  EXPECT_THAT(left, testing::UnorderedElementsAre("notes.txt", "data", "config.toml"));
  EXPECT_EQ(config::from_toml_file(folder / "config.toml"), config);
}

TEST(RunFolder, ResumingKeepsTheRun) {
  TemporaryFolder folder;
  whole_checkpoint(folder.path(), 5);
  put_file(folder / "metrics.jsonl", "{}\n");
  auto config = config_for(folder.path(), "latest");
  config.overwrite_output_dir = true;
  prepare_run_folder(config, folder.path());
  EXPECT_TRUE(fs::exists(folder / "checkpoint-5"));
  EXPECT_TRUE(fs::exists(folder / "metrics.jsonl"));
}

TEST(RunFolder, WarnsOfOptionsThatChanged) {
  TemporaryFolder folder;
  auto config = config_for(folder.path());
  {
    CapturedLog log;
    warn_of_changes(config, folder.path());  // no config.toml yet
    prepare_run_folder(config, folder.path());
    config.resume = "latest";
    config.verbose = true;
    config.threads = 3;
    warn_of_changes(config, folder.path());
    EXPECT_THAT(log.text(), IsEmpty()) << "what may differ from run to run is not worth a warning";
  }
  config.lr = 0.5;
  config.seed = 7;
  CapturedLog log;
  warn_of_changes(config, folder.path());
  EXPECT_THAT(log.text(), AllOf(HasSubstr("lr = 0.5"), HasSubstr("seed = 7"), Not(HasSubstr("verbose"))));
}

TEST(RunFolder, NamesTheLastGoodCheckpoint) {
  TemporaryFolder folder;
  EXPECT_THAT(last_good(folder.path()), HasSubstr("no checkpoint yet"));
  whole_checkpoint(folder.path(), 9);
  whole_checkpoint(folder.path(), 10);
  EXPECT_THAT(last_good(folder.path()), HasSubstr("checkpoint-10"));
}

/// Only what save_final asks of an engine.
class SavingEngine : public engine::Engine {
 public:
  engine::SavedCheck check;
  bool zero = false;
  engine::ModelFacts facts() const override { return {}; }
  engine::MemoryReport memory() const override { return {}; }
  engine::DistributionReport distribution() const override { return {}; }
  double matrix_flops(const data::MicroBatch&) const override { return 0; }
  std::vector<engine::LossSum> forward_backward(std::span<const data::MicroBatch>, double, std::int64_t,
                                                std::optional<double>) override {
    return {};
  }
  engine::UpdateResult optimizer_step(double, std::optional<double>) override { return {}; }
  void rehearse(std::span<const data::MicroBatch>, std::int64_t, bool) override {}
  std::vector<engine::LossSum> evaluate(std::span<const data::MicroBatch>) override { return {}; }
  std::vector<float> logits(const data::MicroBatch&) override { return {}; }
  std::vector<std::int32_t> generate(const std::vector<std::int32_t>&, const engine::GenerationOptions&,
                                     const std::function<bool(std::int32_t)>&) override {
    return {};
  }
  void save_model(const fs::path& folder) override { put_file(folder / "model", "new"); }
  void save_state(const fs::path&) override {}
  void load_state(const fs::path&) override {}
  bool adapter_is_zero() const override { return zero; }
  engine::SavedCheck verify_saved(const fs::path&, const data::MicroBatch&) override { return check; }
};

// An adapter that was saved wrong, or that was never trained, is no success.
TEST(SaveFinal, ChecksWhatItSaved) {
  TemporaryFolder run;
  SavingEngine engine;
  save_final(engine, run.path(), {}, true);
  EXPECT_EQ(read_file(run / "final/model"), "new");
  fs::remove_all(run / "final");
  engine.check.logits_difference = 1e-3;
  EXPECT_THAT(message_of<Error>([&] { save_final(engine, run.path(), {}, true); }), HasSubstr("differ"));
  engine.check = {"lm_head.weight", 6, 0};
  EXPECT_THAT(message_of<Error>([&] { save_final(engine, run.path(), {}, true); }),
              AllOf(HasSubstr("'lm_head.weight' differs"), HasSubstr("no checkpoint yet")));
  EXPECT_TRUE(fs::is_empty(run.path())) << "what failed its check has no name";
  engine.check = {};
  engine.zero = true;
  EXPECT_THAT(message_of<Error>([&] { save_final(engine, run.path(), {}, true); }), HasSubstr("adds nothing"));
  EXPECT_NO_THROW(save_final(engine, run.path(), {}, false)) << "after no step, it may well be zero";
}

}  // namespace
}  // namespace lorica::train
