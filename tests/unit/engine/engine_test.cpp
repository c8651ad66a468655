// The engine as training uses it: state saved and restored exactly, saved models verified, bad checkpoints named.
#include "engine/engine.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.hpp"
#include "base/files.hpp"
#include "engine/tiny_model.hpp"

namespace lorica::engine {
namespace {

using config::TrainType;
using test::batch_of;
using test::tiny_config;
using test::tiny_model;
using testing::AllOf;
using testing::HasSubstr;

constexpr double kRate = 1e-2;

/// Steps `first` … `last` − 1 of a run: the loss of each.
std::vector<double> train(Engine& engine, std::int64_t first, std::int64_t last) {
  std::vector<double> losses;
  for (auto step = first; step < last; ++step) {
    const auto batch = batch_of({9, 5, 7}, 10 * step);
    const auto sums = engine.forward_backward({&batch, 1}, 1.0 / static_cast<double>(batch.supervised()), step);
    losses.push_back(sums.front().loss);
    engine.optimizer_step(kRate, 1.0);
  }
  return losses;
}

class EngineTest : public testing::Test {
 protected:
  config::Config config(TrainType type, const std::string& family = "llama") {
    const auto folder = folder_ / family;
    if (!std::filesystem::exists(folder)) tiny_model(folder, family);
    auto config = tiny_config(folder.string(), type);
    config.lora_dropout = 0.1;
    return config;
  }
  std::filesystem::path made(const std::string& name) {
    std::filesystem::create_directories(folder_ / name);
    return folder_ / name;
  }
  test::TemporaryFolder folder_;
};

TEST_F(EngineTest, TrainingLowersTheLoss) {
  for (const auto type : {TrainType::full, TrainType::lora, TrainType::qlora}) {
    const auto engine = make_engine(config(type), Purpose::train);
    const auto batch = batch_of({9, 5, 7});
    const double before = engine->evaluate({&batch, 1}).front().loss;
    for (int step = 0; step < 8; ++step) {
      engine->forward_backward({&batch, 1}, 1.0 / static_cast<double>(batch.supervised()), step);
      EXPECT_GT(engine->optimizer_step(kRate, std::nullopt).gradient_norm, 0);
    }
    EXPECT_LT(engine->evaluate({&batch, 1}).front().loss, before);
  }
}

// 3 + 3 steps are 6 steps, digit for digit, optimizer state and dropout included.
TEST_F(EngineTest, ResumedTrainingEqualsUninterrupted) {
  for (const auto type : {TrainType::full, TrainType::lora, TrainType::qlora}) {
    const auto folder = made("state" + std::to_string(static_cast<int>(type)));
    const auto whole = make_engine(config(type), Purpose::train);
    train(*whole, 0, 3);
    whole->save_state(folder);
    const auto expected = train(*whole, 3, 6);
    const auto resumed = make_engine(config(type), Purpose::train);
    resumed->load_state(folder);
    EXPECT_EQ(train(*resumed, 3, 6), expected);
    EXPECT_EQ(resumed->logits(batch_of({6})), whole->logits(batch_of({6})));
  }
}

TEST_F(EngineTest, StateOfOtherOptionsIsRefused) {
  const auto folder = made("state");
  const auto engine = make_engine(config(TrainType::lora), Purpose::train);
  train(*engine, 0, 1);
  engine->save_state(folder);
  auto other = config(TrainType::lora);
  other.lora_rank = 8;
  const auto wrong = make_engine(other, Purpose::train);
  const auto before = wrong->logits(batch_of({6}));
  EXPECT_THAT(test::message_of<ModelError>([&] { wrong->load_state(folder); }), HasSubstr("other options"));
  EXPECT_EQ(wrong->logits(batch_of({6})), before);
  std::filesystem::remove(folder / "optimizer.safetensors");
  EXPECT_THAT(test::message_of<FileError>([&] { engine->load_state(folder); }), HasSubstr("optimizer.safetensors"));
}

// What was saved is what was trained; a saved file that changed shows.
TEST_F(EngineTest, VerifyingASavedModel) {
  for (const auto type : {TrainType::full, TrainType::qlora}) {
    const auto folder = made("saved" + std::to_string(static_cast<int>(type)));
    const auto engine = make_engine(config(type), Purpose::train);
    train(*engine, 0, 2);
    engine->save_model(folder);
    const auto logits = engine->logits(batch_of({6}));
    const auto check = engine->verify_saved(folder, batch_of({6}));
    EXPECT_EQ(check.differing, "");
    EXPECT_EQ(check.logits_difference, 0);
    EXPECT_EQ(check.tokens, 6);
    EXPECT_EQ(engine->logits(batch_of({6})), logits) << "the live model stays as it is";
    train(*engine, 2, 3);
    const auto other = engine->verify_saved(folder, batch_of({6}));
    EXPECT_NE(other.differing, "");
    EXPECT_GT(other.logits_difference, 0);
    EXPECT_NE(engine->logits(batch_of({6})), logits) << "the live model stays as it is";
  }
}

// A single bit anywhere: of the first block, the last, and of what logits don't show.
TEST_F(EngineTest, VerifyingFindsEachWrongTensor) {
  for (const auto type : {TrainType::full, TrainType::lora}) {
    const auto folder = made("bits" + std::to_string(static_cast<int>(type)));
    const auto engine = make_engine(config(type), Purpose::train);
    train(*engine, 0, 2);
    engine->save_model(folder);
    const auto file = folder / (type == TrainType::full ? "model.safetensors" : "adapter_model.safetensors");
    const auto whole = read_file(file);
    const io::SafetensorsFile saved(file);
    const auto* last = saved.tensors().begin()->second.data;
    for (const auto& [name, view] : saved.tensors()) last = std::max(last, view.data + view.bytes);
    for (const auto& [name, view] : saved.tensors()) {
      auto damaged = whole;
      const auto place = whole.size() - static_cast<std::size_t>(last - view.data) + view.bytes - 4;
      damaged[place] = static_cast<char>(damaged[place] ^ 1);
      write_file(file, damaged);
      const auto check = engine->verify_saved(folder, batch_of({6}));
      EXPECT_NE(check.differing, "") << name;
    }
    write_file(file, whole);
    EXPECT_EQ(engine->verify_saved(folder, batch_of({6})).differing, "");
  }
}

TEST_F(EngineTest, VerifyingReadsTheAdaptersConfig) {
  const auto folder = made("scale");
  const auto engine = make_engine(config(TrainType::lora), Purpose::train);
  engine->save_model(folder);
  auto json = io::read_json(folder / "adapter_config.json");
  json["lora_alpha"] = 16;
  io::write_json(folder / "adapter_config.json", json);
  EXPECT_THAT(test::message_of<Error>([&] { engine->verify_saved(folder, batch_of({6})); }), HasSubstr("scale"));
}

// A probe's weights stay on disk: its logits are those of the model that is loaded whole.
TEST_F(EngineTest, AProbeComputesTheSameLogits) {
  for (const auto* family : {"llama", "qwen3"}) {
    const auto folder = made(std::string("probed-") + family);
    {
      const auto engine = make_engine(config(TrainType::qlora, family), Purpose::train);
      train(*engine, 0, 2);
      engine->save_model(folder);
    }
    auto adapted = config(TrainType::qlora, family);
    adapted.adapter = folder.string();
    const auto probe = make_engine(adapted, Purpose::probe);
    EXPECT_EQ(probe->memory().weights + probe->memory().trainable, 0U);
    EXPECT_EQ(probe->logits(batch_of({6})), make_engine(adapted, Purpose::infer)->logits(batch_of({6})));
  }
}

TEST_F(EngineTest, AnAdapterThatAddsNothingIsSeen) {
  const auto engine = make_engine(config(TrainType::lora), Purpose::train);
  EXPECT_TRUE(engine->adapter_is_zero());
  train(*engine, 0, 1);
  EXPECT_FALSE(engine->adapter_is_zero());
  EXPECT_FALSE(make_engine(config(TrainType::full), Purpose::train)->adapter_is_zero());
}

TEST_F(EngineTest, ASavedAdapterIsLoadedAgain) {
  const auto folder = made("adapter");
  const auto engine = make_engine(config(TrainType::qlora), Purpose::train);
  train(*engine, 0, 2);
  engine->save_model(folder);
  auto again = config(TrainType::qlora);
  again.adapter = folder.string();
  EXPECT_EQ(make_engine(again, Purpose::infer)->logits(batch_of({6})), engine->logits(batch_of({6})));
}

TEST_F(EngineTest, FactsAndMemory) {
  const auto engine = make_engine(config(TrainType::lora), Purpose::train);
  const auto facts = engine->facts();
  EXPECT_EQ(facts.family, "llama");
  EXPECT_EQ(facts.layers, 4);
  EXPECT_EQ(facts.vocabulary, 97);
  // Rank 4 on q, o (32+32), k, v (32+16), gate, up, down (32+48), in 4 layers.
  EXPECT_EQ(facts.trainable, 4 * 4 * (2 * 64 + 2 * 48 + 3 * 80));
  // 4 layers of projections and two norms, embedding, head, last norm.
  EXPECT_EQ(facts.parameters, 4 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32) + 2 * 97 * 32 + 32);
  EXPECT_EQ(facts.adapted.size(), 28U);
  EXPECT_EQ(engine->memory().trainable, 4 * static_cast<std::uint64_t>(facts.trainable));
  EXPECT_EQ(engine->memory().weights, 4 * static_cast<std::uint64_t>(facts.parameters));
  EXPECT_EQ(engine->memory().optimizer, 0U);
  train(*engine, 0, 1);
  EXPECT_EQ(engine->memory().optimizer, 8 * static_cast<std::uint64_t>(facts.trainable));
  EXPECT_EQ(engine->memory().gradients, 0U);
}

// A gradient that is not finite changes nothing, and is named.
TEST_F(EngineTest, ANonFiniteGradientStopsBeforeTheUpdate) {
  const auto engine = make_engine(config(TrainType::lora), Purpose::train);
  const auto before = engine->logits(batch_of({6}));
  const auto batch = batch_of({9});
  engine->forward_backward({&batch, 1}, std::numeric_limits<double>::infinity(), 0);
  EXPECT_THAT(test::message_of<TrainingError>([&] { engine->optimizer_step(kRate, 1.0); }), HasSubstr(".lora_"));
  EXPECT_EQ(engine->logits(batch_of({6})), before);
  engine->rehearse({&batch, 1}, 0, false);  // clears the gradients
  train(*engine, 0, 1);
}

/// Weights after `steps` updates with or without early ones, as logits; and the gradient norms.
std::pair<std::vector<float>, std::vector<double>> train_full(const config::Config& config, int steps, bool early,
                                                              int micro_batches) {
  const auto engine = make_engine(config, Purpose::train);
  std::vector<double> norms;
  const std::vector<data::MicroBatch> batches{batch_of({9, 5}), batch_of({12})};
  for (int step = 0; step < steps; ++step) {
    const std::span<const data::MicroBatch> some(batches.data(), static_cast<std::size_t>(micro_batches));
    engine->forward_backward(some, 0.05, step, early ? std::optional(kRate) : std::nullopt);
    EXPECT_EQ(engine->memory().gradients == 0, early);
    norms.push_back(engine->optimizer_step(kRate, std::nullopt).gradient_norm);
    EXPECT_EQ(engine->memory().gradients, 0U);
  }
  return {engine->logits(batch_of({6})), norms};
}

TEST_F(EngineTest, EarlyUpdatesAreTheSameUpdates) {
  for (const auto* family : {"llama", "qwen3"}) {  // qwen3: the embedding is the head, too
    for (const int micro_batches : {1, 2}) {
      const auto full = config(TrainType::full, family);
      const auto [logits, norms] = train_full(full, 3, false, micro_batches);
      const auto [early_logits, early_norms] = train_full(full, 3, true, micro_batches);
      EXPECT_EQ(logits, early_logits);
      // The same squares, added up in another order.
      for (std::size_t i = 0; i < norms.size(); ++i) EXPECT_NEAR(norms[i], early_norms[i], 1e-12 * norms[i]);
    }
  }
}

TEST_F(EngineTest, EarlyUpdatesStopAtAGradientThatIsNotFinite) {
  const auto engine = make_engine(config(TrainType::full), Purpose::train);
  const auto before = engine->logits(batch_of({6}));
  const auto batch = batch_of({9});
  engine->forward_backward({&batch, 1}, std::numeric_limits<double>::infinity(), 0, kRate);
  EXPECT_THAT(test::message_of<TrainingError>([&] { engine->optimizer_step(kRate, std::nullopt); }),
              AllOf(HasSubstr("infinity or NaN"), HasSubstr("the update stopped there, with 0 tensors")));
  EXPECT_EQ(engine->logits(batch_of({6})), before);
}

TEST_F(EngineTest, ARehearsalChangesNothing) {
  for (const bool early : {false, true}) {
    const auto engine = make_engine(config(TrainType::full), Purpose::train);
    const auto before = engine->logits(batch_of({6}));
    const auto batch = batch_of({9});
    engine->rehearse({&batch, 1}, 0, early);
    EXPECT_EQ(engine->logits(batch_of({6})), before);
    EXPECT_EQ(engine->memory().gradients + engine->memory().optimizer, 0U);
  }
}

TEST_F(EngineTest, GreedyGenerationFollowsTheLogits) {
  const auto engine = make_engine(config(TrainType::lora), Purpose::infer);
  const auto batch = batch_of({6});
  GenerationOptions options;
  options.max_new_tokens = 5;
  std::vector<std::int32_t> streamed;
  const auto result = engine->generate(batch.input_ids, options, [&](std::int32_t id) {
    streamed.push_back(id);
    return true;
  });
  EXPECT_EQ(result, streamed);
  ASSERT_EQ(result.size(), 5U);
  auto ids = batch.input_ids;
  for (const auto id : result) {
    auto whole = batch_of({static_cast<std::int32_t>(ids.size())});
    whole.input_ids = ids;
    const auto logits = engine->logits(whole);
    const auto last = logits.end() - 97;
    EXPECT_EQ(std::max_element(last, logits.end()) - last, id);
    ids.push_back(id);
  }
  // It stops at the first of these, which isn't part of the text. The last new token has others before it.
  auto stop = result.end();
  for (auto id = result.begin(); id != result.end(); ++id) {
    if (std::find(result.begin(), id, *id) == id) stop = id;
  }
  ASSERT_GT(stop - result.begin(), 0) << "this model repeats one token: the test needs another";
  options.stop_ids = {*stop};
  EXPECT_EQ(engine->generate(batch.input_ids, options, {}), std::vector<std::int32_t>(result.begin(), stop));
}

class BadCheckpoint : public EngineTest {
 protected:
  /// The message of loading the tiny model with its tensors changed by `damage`.
  std::string fault(TrainType type, const std::function<void(test::TensorMap&)>& damage) {
    const auto architecture = test::tiny_architecture("llama");
    auto tensors = test::random_weights(architecture);
    damage(tensors);
    test::write_model(folder_ / "bad", architecture, tensors);
    const auto bad = tiny_config((folder_ / "bad").string(), type);
    return test::message_of<ModelError>([&] { make_engine(bad, Purpose::train); });
  }
};

constexpr const char* kVictim = "model.layers.2.self_attn.k_proj.weight";

TEST_F(BadCheckpoint, AMissingTensorIsNamed) {
  EXPECT_THAT(fault(TrainType::qlora, [](auto& tensors) { tensors.erase(kVictim); }),
              AllOf(HasSubstr(kVictim), HasSubstr("bad")));
}

TEST_F(BadCheckpoint, AWrongShapeIsNamed) {
  const auto message = fault(TrainType::qlora, [](auto& tensors) { tensors[kVictim] = at::zeros({16, 31}); });
  EXPECT_THAT(message,
              AllOf(HasSubstr(kVictim), HasSubstr("[16, 31]"), HasSubstr("[16, 32]"), HasSubstr("model.safetensors")));
}

TEST_F(BadCheckpoint, AWrongDtypeIsNamed) {
  const auto message = fault(TrainType::lora, [](auto& tensors) { tensors[kVictim] = at::zeros({16, 32}, at::kLong); });
  EXPECT_THAT(message, AllOf(HasSubstr(kVictim), HasSubstr("int64")));
}

TEST_F(BadCheckpoint, NanAndInfinityAreNamedWithTheirPlace) {
  for (const auto type : {TrainType::lora, TrainType::qlora, TrainType::full}) {
    for (const float value : {std::nanf(""), INFINITY}) {
      const auto message = fault(type, [&](auto& tensors) { tensors[kVictim][3][7] = value; });
      EXPECT_THAT(message, AllOf(HasSubstr(kVictim), HasSubstr("[3, 7]"), HasSubstr("damaged")));
    }
  }
}

}  // namespace
}  // namespace lorica::engine
