#include "train/model_lines.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lorica::train {
namespace {

/// Rank 64 on a tiny model trains more than the model has; of all parameters, that is still a part.
TEST(ModelLines, TrainableParametersAreAPartOfAllAsInPeft) {
  engine::ModelFacts facts;
  facts.parameters = 205'568;
  facts.trainable = 262'144;
  facts.adapted = {"q_proj"};
  EXPECT_EQ(trainable_line(facts), "trainable params: 262,144 || all params: 467,712 || trainable%: 56.0482");
}

TEST(ModelLines, OfAFullModelAllAreTrained) {
  engine::ModelFacts facts;
  facts.parameters = facts.trainable = 1000;
  EXPECT_EQ(trainable_line(facts), "trainable params: 1,000 || all params: 1,000 || trainable%: 100.0000");
  EXPECT_THAT(model_lines(facts, {}, 1), ::testing::Not(::testing::Contains(::testing::HasSubstr("module"))));
}

}  // namespace
}  // namespace lorica::train
