// When evaluations are due, and that they cover every example once.
#include "train/evaluation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/fixture.hpp"

namespace lorica::train {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// The steps of a run of `steps` after which evaluation is due.
std::vector<std::int64_t> due(const config::Config& config, std::int64_t per_epoch, std::int64_t steps) {
  const EvaluationSchedule schedule(config, per_epoch, true);
  std::vector<std::int64_t> found;
  for (std::int64_t step = 1; step <= steps; ++step) {
    if (schedule.due(step, step == steps)) found.push_back(step);
  }
  return found;
}

TEST(EvaluationSchedule, AtTheEndOfEachEpochByDefault) {
  EXPECT_THAT(due({}, 5, 12), ElementsAre(5, 10, 12));
}

TEST(EvaluationSchedule, EverySoManySteps) {
  config::Config config;
  config.eval_steps = 4;
  EXPECT_THAT(due(config, 5, 10), ElementsAre(4, 8, 10));
}

TEST(EvaluationSchedule, SoOftenAnEpoch) {
  config::Config config;
  config.evals_per_epoch = 3;
  // Of 10 steps: 10/3 and 20/3 rounded, and the end; the same in each epoch.
  EXPECT_THAT(due(config, 10, 20), ElementsAre(3, 7, 10, 13, 17, 20));
  config.evals_per_epoch = 100;  // more than there are steps
  EXPECT_THAT(due(config, 3, 5), ElementsAre(1, 2, 3, 4, 5));
  config.evals_per_epoch = 2;
  EXPECT_THAT(due(config, 1, 3), ElementsAre(1, 2, 3));
}

TEST(EvaluationSchedule, NeverWithoutData) {
  config::Config config;
  config.eval_steps = 1;
  const EvaluationSchedule schedule(config, 5, false);
  EXPECT_FALSE(schedule.active());
  EXPECT_FALSE(schedule.due(5, true));
  EXPECT_FALSE(EvaluationSchedule().due(1, true));
}

class EvaluationBatches : public data::DataTest {};

TEST_F(EvaluationBatches, CoverEveryExampleOnceInOrder) {
  std::string rows;
  for (int i = 0; i < 7; ++i)
    rows += fmt::format("{{\"text\": \"{}\"}}\n", std::string(static_cast<std::size_t>(i + 3), 'a'));
  const auto dataset = load(write("rows.jsonl", rows));
  std::vector<std::int64_t> sizes, examples;
  std::int64_t tokens = 0;
  over_evaluation_batches(dataset, 3, {}, [&](std::span<const data::MicroBatch> batches) {
    const auto& batch = batches.front();
    sizes.push_back(batch.sequences());
    examples.insert(examples.end(), batch.examples.begin(), batch.examples.end());
    tokens += batch.tokens();
  });
  EXPECT_THAT(sizes, ElementsAre(3, 3, 1));
  EXPECT_EQ(tokens, dataset.tokens());
  std::vector<std::int64_t> expected;
  for (std::int64_t i = 0; i < dataset.size(); ++i) expected.push_back(dataset.example(i).id);
  EXPECT_EQ(examples, expected);
}

}  // namespace
}  // namespace lorica::train
