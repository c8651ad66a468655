#include "train/next_steps.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lorica::train {
namespace {

using ::testing::ElementsAre;

TEST(NextSteps, PathsAreShellWords) {
  EXPECT_EQ(shell_word("runs/first-1.0"), "runs/first-1.0");
  EXPECT_EQ(shell_word("my run"), "'my run'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word(""), "''");
}

TEST(NextSteps, AnAdapterIsAskedAndMergedOnItsBaseInTheBitsItWasTrainedOn) {
  config::Config config;
  config.model_name = "my models/base";
  EXPECT_THAT(next_steps(config, "out", "instruction"),
              ElementsAre("lorica generate --model_name 'my models/base' --n_bits 4 --adapter out/final "
                          "--prompt_template alpaca --prompt \"...\"",
                          "lorica merge --model_name 'my models/base' --adapter out/final --output out/merged",
                          "lorica report out"));
  config.train_type = config::TrainType::lora;
  EXPECT_THAT(next_steps(config, "out", "text").front(),
              "lorica generate --model_name 'my models/base' --adapter out/final --prompt \"...\"");
}

TEST(NextSteps, AWholeModelNeedsNoBase) {
  config::Config config;
  config.train_type = config::TrainType::full;
  EXPECT_THAT(next_steps(config, "out", ""),
              ElementsAre("lorica generate --model_name out/final --prompt \"...\"", "lorica report out"));
  config.save_model = false;
  EXPECT_THAT(next_steps(config, "out", ""), ElementsAre("lorica report out"));
}

}  // namespace
}  // namespace lorica::train
