// Which modules an adapter is put on: names, expressions, layers, and every message of a choice that can't be meant.
#include "engine/torch/adapter_plan.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"
#include "engine/tiny_model.hpp"
#include "io/peft_adapter.hpp"

namespace lorica::engine {
namespace {

using config::TrainType;
using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::optional<AdapterPlan> plan(const config::Config& config, bool tied = false, bool trains = true) {
  auto json = test::tiny_architecture("llama");
  json["tie_word_embeddings"] = tied;
  const auto architecture = model::parse_architecture(json, "config.json");
  return plan_adapter(config, architecture, model::describe_blocks(architecture), trains);
}

config::Config with_targets(std::vector<std::string> targets) {
  auto config = test::tiny_config("unused", TrainType::lora);
  config.lora_target_modules = std::move(targets);
  return config;
}

std::string refusal(const config::Config& config, bool tied = false) {
  return test::message_of<ConfigError>([&] { plan(config, tied); });
}

TEST(AdapterPlan, KnowsTheNamedChoices) {
  EXPECT_EQ(plan(with_targets({"all"}))->targets.size(), 4U * 7);
  EXPECT_EQ(plan(with_targets({"all-linear"}))->targets.size(), 4U * 7);
  const auto names = plan(with_targets({"default"}))->config.target_modules;
  EXPECT_THAT(names, ElementsAre("q_proj", "v_proj"));
}

TEST(AdapterPlan, FillsInRankScaleAndShape) {
  auto config = with_targets({"k_proj"});
  config.layers_to_transform = {1};
  const auto chosen = plan(config);
  ASSERT_EQ(chosen->targets.size(), 1U);
  const auto& target = chosen->targets.at("model.layers.1.self_attn.k_proj");
  EXPECT_EQ(target.rank, 4);
  EXPECT_EQ(target.scaling, 2);  // alpha 8 / rank 4
  EXPECT_EQ(target.in, 32);
  EXPECT_EQ(target.out, 16);
  config.use_rslora = true;
  EXPECT_EQ(plan(config)->targets.begin()->second.scaling, 4);  // 8 / sqrt(4)
}

TEST(AdapterPlan, TakesAnExpressionOverThePath) {
  const auto chosen = plan(with_targets({".*layers\\.[02]\\.self_attn\\.(q|o)_proj"}));
  std::vector<std::string> paths;
  for (const auto& [path, target] : chosen->targets) paths.push_back(path);
  EXPECT_THAT(paths, ElementsAre("model.layers.0.self_attn.o_proj", "model.layers.0.self_attn.q_proj",
                                 "model.layers.2.self_attn.o_proj", "model.layers.2.self_attn.q_proj"));
}

// Every name must match, even if another one does.
TEST(AdapterPlan, NamesATargetThatMatchesNothingAndSuggestsAnother) {
  EXPECT_THAT(refusal(with_targets({"q_proj", "v_prjo"})),
              AllOf(HasSubstr("--lora_target_modules"), HasSubstr("'v_prjo' matches no module"),
                    HasSubstr("did you mean 'v_proj'"), HasSubstr("gate_proj")));
  EXPECT_THAT(refusal(with_targets({".*no_such_proj"})), HasSubstr("no_such_proj"));
  auto config = with_targets({"q_proj"});
  config.modules_to_save = {"lm_haed"};
  EXPECT_THAT(refusal(config), AllOf(HasSubstr("'lm_haed'"), HasSubstr("did you mean 'lm_head'")));
}

TEST(AdapterPlan, ReportsLayersThatDoNotExist) {
  auto config = with_targets({"q_proj"});
  config.layers_to_transform = {0, 4, 9};
  EXPECT_EQ(refusal(config), "--layers_to_transform 0,4,9: the model has no layer 4,9; its layers are 0 to 3");
  config.lora_target_modules = {".*q_proj"};
  config.layers_to_transform = {0};
  EXPECT_THAT(refusal(config), HasSubstr("as a list of names"));
}

// Training one copy of a shared weight would untie it in silence.
TEST(AdapterPlan, RefusesAHalfOfTiedWeights) {
  for (const std::string name : {"lm_head", "embed_tokens"}) {
    auto config = with_targets({"q_proj"});
    config.modules_to_save = {name};
    EXPECT_THAT(refusal(config, true), AllOf(HasSubstr(name), HasSubstr("tie_word_embeddings")));
    EXPECT_THAT(plan(config)->saved_whole, ElementsAre(name == "lm_head" ? name : "model.embed_tokens"));
  }
}

TEST(AdapterPlan, RefusesALowRankPairOnWhatIsNoProjection) {
  EXPECT_THAT(refusal(with_targets({"lm_head"})), AllOf(HasSubstr("'lm_head'"), HasSubstr("--modules_to_save")));
  EXPECT_THAT(refusal(with_targets({"input_layernorm"})), HasSubstr("--modules_to_save"));
}

TEST(AdapterPlan, IsEmptyForFullTrainingAndForABareBase) {
  EXPECT_FALSE(plan(test::tiny_config("unused", TrainType::full)));
  EXPECT_FALSE(plan(with_targets({"all"}), false, /*trains=*/false));
}

TEST(AdapterPlan, RefusesAnAdapterUnderFullTraining) {
  auto config = test::tiny_config("unused", TrainType::full);
  config.adapter = "some/adapter";
  EXPECT_THAT(refusal(config), HasSubstr("merge the adapter first"));
}

}  // namespace
}  // namespace lorica::engine
