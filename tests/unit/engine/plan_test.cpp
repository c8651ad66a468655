// What `lorica plan` foretells: how figures follow from the options, what is suggested where a run doesn't fit, and the
// reference runs that must come out as known.
#include <gmock/gmock.h>

#include "base/error.hpp"
#include "engine/plan/plan.hpp"
#include "engine/tiny_model.hpp"

namespace lorica::engine {
namespace {

using config::Recompute;
using config::Sharding;
using config::TrainType;
using testing::HasSubstr;

constexpr std::uint64_t kGB = 1'000'000'000;

class PlanTest : public testing::Test {
 protected:
  void SetUp() override {
    auto json = test::tiny_architecture("llama");
    json.update({{"hidden_size", 512},
                 {"intermediate_size", 1408},
                 {"num_hidden_layers", 8},
                 {"vocab_size", 4096},
                 {"head_dim", 64},
                 {"num_attention_heads", 8},
                 {"num_key_value_heads", 8},
                 {"max_position_embeddings", 4096}});
    std::filesystem::create_directories(folder_ / "model");
    io::write_json(folder_ / "model" / "config.json", json);
    config_ = test::tiny_config((folder_ / "model").string(), TrainType::full);
    config_.backend = config::Backend::cpu;
    figures_.time = false;
    figures_.device_memory = 1000 * kGB;
  }
  Plan plan(std::int64_t processes, Sharding strategy) {
    config_.world_size = processes;
    config_.sharding_strategy = strategy;
    return make_plan(config_, figures_);
  }

  test::TemporaryFolder folder_;
  config::Config config_;
  PlanFigures figures_;
};

TEST_F(PlanTest, StrategiesDivideWhatTheySay) {
  const auto one = plan(1, Sharding::ddp).heaviest().memory;
  const auto copies = plan(4, Sharding::ddp).heaviest().memory;
  EXPECT_EQ(copies.trained, one.trained);
  EXPECT_EQ(copies.gathered, 0U);
  const auto full = plan(4, Sharding::full_shard).heaviest().memory;
  EXPECT_NEAR(static_cast<double>(full.trained), static_cast<double>(one.trained) / 4, 1e5);
  EXPECT_LT(full.total(), one.total());
  const auto kept = plan(4, Sharding::shard_grad_op).heaviest().memory;
  EXPECT_EQ(kept.trained, full.trained);
  EXPECT_GT(kept.total(), full.total());
  config_.hybrid_shard_size = 2;
  const auto hybrid = plan(4, Sharding::hybrid_full_shard);
  EXPECT_EQ(hybrid.shards, 2);
  EXPECT_EQ(hybrid.replicas, 2);
  EXPECT_NEAR(static_cast<double>(hybrid.heaviest().memory.trained), static_cast<double>(one.trained) / 2, 1e5);
}

// Bytes sent, by the formulas of ZeRO's paper: an all-gather of P bytes sends (N − 1)/N · P.
TEST_F(PlanTest, TrafficIsTheTheory) {
  const auto bytes = static_cast<double>(plan(1, Sharding::ddp).heaviest().memory.trained);
  EXPECT_EQ(plan(1, Sharding::ddp).heaviest().traffic.total(), 0);
  const auto ddp = plan(4, Sharding::ddp).heaviest().traffic;
  EXPECT_NEAR(ddp.reduced, 2 * 0.75 * bytes, 1);
  EXPECT_EQ(ddp.gathered, 0);
  const auto kept = plan(4, Sharding::shard_grad_op).heaviest().traffic;
  EXPECT_NEAR(kept.gathered, 0.75 * bytes, 1);
  EXPECT_NEAR(kept.reduced, 0.75 * bytes, 1);
  // Forward and backward; the head's two are one, and the embedding's backward needs no weights.
  const auto full = plan(4, Sharding::full_shard).heaviest().traffic;
  const double embedding = 4.0 * 4096 * 512, head = embedding + 4.0 * 512;
  EXPECT_NEAR(full.gathered, 0.75 * (2 * bytes - head - embedding), 1);
  config_.gradient_accumulation_steps = 3;
  EXPECT_NEAR(plan(4, Sharding::full_shard).heaviest().traffic.reduced, 3 * 0.75 * bytes, 1);
  config_.no_sync = true;
  EXPECT_NEAR(plan(4, Sharding::full_shard).heaviest().traffic.reduced, 0.75 * bytes, 1);
}

TEST_F(PlanTest, StagesHoldTheirBlocksAndSendActivations) {
  config_.pipeline_stages = 2;
  config_.gradient_accumulation_steps = 4;
  config_.batch_size = 2;
  config_.context_length = 100;
  const auto planned = plan(2, Sharding::ddp);
  ASSERT_EQ(planned.stages.size(), 2U);
  const auto& [first, second] = std::tie(planned.stages[0], planned.stages[1]);
  EXPECT_EQ(first.first_block, 0U);
  EXPECT_EQ(first.last_block + 1, second.first_block);
  EXPECT_EQ(second.last_block, 9U);
  EXPECT_NEAR(first.traffic.messages, 4 * 200 * 512 * 4, 1);   // activations
  EXPECT_NEAR(second.traffic.messages, 4 * 200 * 512 * 4, 1);  // their gradients
  figures_.time = true;
  figures_.flops = 1e12;
  const auto timed = plan(2, Sharding::ddp);
  EXPECT_NEAR(timed.time.bubble, 1.0 / 5, 1e-9);  // (stages − 1) / (micro-batches + stages − 1)
  EXPECT_NEAR(timed.time.total, timed.time.compute * 5 / 4, 1e-9);
}

TEST_F(PlanTest, PoliciesAndTrainTypesOrderAsTheyMust) {
  config_.train_type = TrainType::lora;
  config_.context_length = 1024;
  const auto with = [&](Recompute policy) {
    config_.recompute = policy;
    return plan(1, Sharding::ddp).heaviest().memory.activations;
  };
  const auto keep = with(Recompute::keep), selective = with(Recompute::selective), least = with(Recompute::recompute);
  EXPECT_GT(keep, selective);
  EXPECT_GT(selective, least);
  const auto lora = plan(1, Sharding::ddp).heaviest().memory.weights;
  config_.train_type = TrainType::qlora;
  EXPECT_LT(3 * (plan(1, Sharding::ddp).heaviest().memory.weights - 2 * 4096 * 512 * 4), lora);
}

TEST_F(PlanTest, SuggestsTheCheapestThatFits) {
  config_.recompute = Recompute::keep;
  config_.use_gradient_checkpointing = false;
  config_.train_type = TrainType::lora;
  config_.context_length = 1024;
  config_.batch_size = 4;
  const auto needed = plan(1, Sharding::ddp).heaviest().memory.total();
  figures_.device_memory = needed;
  EXPECT_TRUE(plan(1, Sharding::ddp).fits);
  figures_.device_memory = needed - 1;
  auto planned = plan(1, Sharding::ddp);
  EXPECT_FALSE(planned.fits);
  ASSERT_FALSE(planned.remedies.empty());
  EXPECT_EQ(planned.remedies.front().change, "--recompute recompute");
  EXPECT_LE(planned.remedies.front().device, figures_.device_memory);
  // Where that alone doesn't do, what does is no less true.
  figures_.device_memory = planned.remedies.front().device - 1;
  planned = plan(1, Sharding::ddp);
  ASSERT_FALSE(planned.remedies.empty());
  EXPECT_THAT(planned.remedies.front().change, HasSubstr("--batch_size 1 --gradient_accumulation_steps 4"));
  for (const auto& remedy : planned.remedies) EXPECT_LE(remedy.device, figures_.device_memory);
  figures_.device_memory = 1000;
  planned = plan(1, Sharding::ddp);
  EXPECT_TRUE(planned.remedies.empty());
  EXPECT_TRUE(planned.beyond);
  EXPECT_THAT(plan_text(planned), HasSubstr("No change tried makes it fit"));
}

/// The seeds' headline (Answer.AI, "You can now train a 70b language model at home", 2024).
class Llama70B : public testing::Test {
 protected:
  Plan plan(int devices, bool offload, std::uint64_t memory) {
    config::Config config;
    config.model_name = std::filesystem::path(__FILE__).parent_path().string() + "/../../../examples/plan/llama-2-70b";
    config.backend = config::Backend::cuda;  // which isn't in this machine
    config.train_type = TrainType::qlora;
    config.context_length = 512;
    config.batch_size = 2;
    config.world_size = devices;
    config.use_cpu_offload = offload;
    PlanFigures figures;
    figures.device_memory = memory;
    figures.host_memory = 128 * kGB;
    figures.time = false;
    return make_plan(config, figures);
  }
};

TEST_F(Llama70B, FitsTwoDevicesOf24GBWithOffload) {
  const auto planned = plan(2, true, 24 * kGB);
  EXPECT_NEAR(static_cast<double>(planned.parameters), 68.98e9, 0.01e9);
  EXPECT_TRUE(planned.fits) << plan_text(planned);
  EXPECT_GT(planned.host_needed, 34 * kGB);
  const auto without = plan(2, false, 24 * kGB);
  EXPECT_FALSE(without.fits);
  ASSERT_FALSE(without.remedies.empty());
  EXPECT_EQ(without.remedies.front().change, "--use_cpu_offload true");
  for (const auto& either : {planned, without}) EXPECT_THAT(plan_text(either), HasSubstr("train refuses it on a GPU"));
  EXPECT_THAT(plan_text(plan(4, false, 40 * kGB)), Not(HasSubstr("refuses")));
}

TEST_F(Llama70B, FitsFourDevicesOf40GBWithoutOffload) {
  EXPECT_TRUE(plan(4, false, 40 * kGB).fits);
  EXPECT_FALSE(plan(1, false, 40 * kGB).fits);
}

}  // namespace
}  // namespace lorica::engine
