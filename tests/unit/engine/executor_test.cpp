// The executor: its gradients against central differences and against itself under every policy, packing and
// accumulation; what it does not do for layers that need nothing; what it holds.
#include "engine/torch/executor.hpp"

#include <gmock/gmock.h>

#include "data/micro_batch.hpp"
#include "engine/executor_fixture.hpp"
#include "model/counting_allocator.hpp"

namespace lorica::engine {
namespace {

using config::TrainType;
using test::batch_of;
using test::expect_same;
using test::tiny_config;
using test::tiny_model;
using test::Trainer;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

// Sums of some 50 products in another order, through 4 layers.
constexpr double kReordered = 2e-5;

class ExecutorTest : public testing::TestWithParam<std::string> {
 protected:
  ExecutorTest() : model_(tiny_model(folder_ / "model", GetParam())) {}
  test::TemporaryFolder folder_;
  std::string model_;
};

INSTANTIATE_TEST_SUITE_P(Families, ExecutorTest, testing::Values("llama", "mistral", "qwen2", "qwen3"),
                         [](const auto& info) { return info.param; });

// Embedding, every projection, norm, bias and head at once, tied (qwen3) and not.
TEST_P(ExecutorTest, FullGradientsAgreeWithCentralDifferences) {
  Trainer trainer(tiny_config(model_, TrainType::full));
  const auto batch = batch_of({11, 1, 6});
  const auto [sum, gradients] = trainer.gradients_of({batch});
  EXPECT_EQ(sum.tokens, batch.supervised());
  std::vector<at::Tensor> leaves, found;
  for (const auto& parameter : trainer.model.store->trainable()) {
    ASSERT_TRUE(gradients.contains(parameter.name)) << parameter.name;
    leaves.push_back(parameter.value);
    found.push_back(gradients.at(parameter.name));
  }
  EXPECT_EQ(leaves.size(), trainer.model.store->parameters().size());
  Executor executor(trainer.model, trainer.options);
  test::expect_directional([&] { return executor.evaluate({&batch, 1}).front().loss; }, leaves, found, 1e-3, 5e-3);
  // One tensor at a time, too: a part left out of one would hardly show in the whole.
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    SCOPED_TRACE(trainer.model.store->trainable()[i].name);
    test::expect_directional(
        [&] {
          return executor.evaluate({&batch, 1}).front().loss;
        },
        {leaves[i]}, {found[i]}, 1e-2, 3e-2);
  }
}

TEST_P(ExecutorTest, LoraGradientsAgreeWithCentralDifferences) {
  Trainer trainer(tiny_config(model_, TrainType::lora));
  const auto batch = batch_of({11, 6});
  const auto gradients = trainer.gradients_of({batch}).second;
  std::vector<at::Tensor> leaves, found;
  for (const auto& parameter : trainer.model.store->trainable()) {
    EXPECT_THAT(parameter.name, HasSubstr(".lora_"));
    leaves.push_back(parameter.value);
    found.push_back(gradients.at(parameter.name));
  }
  EXPECT_EQ(leaves.size(), 4U * 7 * 2);
  Executor executor(trainer.model, trainer.options);
  test::expect_directional([&] { return executor.evaluate({&batch, 1}).front().loss; }, leaves, found, 1e-2, 5e-3);
}

TEST_P(ExecutorTest, EveryPolicyGivesTheSameLossAndGradients) {
  for (const auto type : {TrainType::lora, TrainType::qlora, TrainType::full}) {
    const double dropout = type == TrainType::full ? 0 : 0.3;
    auto config = tiny_config(model_, type);
    config.lora_dropout = dropout;
    Trainer keep(config, dropout, config::Recompute::keep);
    const auto [expected_loss, expected] = keep.gradients_of({batch_of({11, 1, 6})});
    for (const auto policy : {config::Recompute::recompute, config::Recompute::selective}) {
      Trainer other(config, dropout, policy);
      const auto [loss, gradients] = other.gradients_of({batch_of({11, 1, 6})});
      EXPECT_EQ(loss.loss, expected_loss.loss);
      expect_same(gradients, expected, 1e-6);
    }
  }
}

TEST_P(ExecutorTest, InputsThatWaitInHostMemoryGiveTheSameGradients) {
  Trainer staying(tiny_config(model_, TrainType::full)), moving(tiny_config(model_, TrainType::full));
  moving.options.offload_activations = true;
  const auto [expected_loss, expected] = staying.gradients_of({batch_of({11, 1, 6})});
  const auto [loss, gradients] = moving.gradients_of({batch_of({11, 1, 6})});
  EXPECT_EQ(loss.loss, expected_loss.loss);
  expect_same(gradients, expected, 0x1p-60);
}

TEST_P(ExecutorTest, EvaluationIsTheTrainingLossWithoutDropout) {
  Trainer trainer(tiny_config(model_, TrainType::lora));
  const auto batch = batch_of({11, 6});
  Executor executor(trainer.model, trainer.options);
  EXPECT_EQ(executor.evaluate({&batch, 1}).front().loss, trainer.pass(batch).loss);
  auto config = tiny_config(model_, TrainType::lora);
  config.lora_dropout = 0.5;
  Trainer dropping(config, 0.5);
  EXPECT_NE(dropping.pass(batch).loss, trainer.pass(batch).loss);
  EXPECT_NE(dropping.pass(batch, 1, 3).loss, dropping.pass(batch, 1, 2).loss) << "each step draws its own masks";
}

// Packed sequences are each alone, with the very masks of dropout that they draw alone.
TEST_P(ExecutorTest, PackedEqualsAlone) {
  auto config = tiny_config(model_, TrainType::lora);
  config.lora_dropout = 0.3;
  Trainer trainer(config, 0.3);
  const auto [packed, packed_gradients] = trainer.gradients_of({batch_of({11, 1, 6, 8})});
  const auto [alone, alone_gradients] =
      trainer.gradients_of({batch_of({11}, 10), batch_of({1}, 11), batch_of({6}, 12), batch_of({8}, 13)});
  EXPECT_EQ(packed.tokens, alone.tokens);
  EXPECT_NEAR(packed.loss / alone.loss, 1, 1e-6);
  expect_same(packed_gradients, alone_gradients, kReordered);
}

// How a step is cut into micro-batches changes nothing, although they hold unequal numbers of tokens.
TEST_P(ExecutorTest, AccumulationDoesNotChangeTheGradients) {
  Trainer trainer(tiny_config(model_, TrainType::qlora));
  const auto whole = batch_of({11, 2, 6, 30});
  const double scale = 1.0 / static_cast<double>(whole.supervised());
  const auto [loss, expected] = trainer.gradients_of({whole}, scale);
  for (const auto& cut : {std::vector<data::MicroBatch>{batch_of({11, 2, 6}, 10), batch_of({30}, 13)},
                          {batch_of({11}, 10), batch_of({2, 6}, 11), batch_of({30}, 13)}}) {
    const auto [parts, gradients] = trainer.gradients_of(cut, scale);
    EXPECT_EQ(parts.tokens, loss.tokens);
    EXPECT_NEAR(parts.loss / loss.loss, 1, 1e-6);
    expect_same(gradients, expected, kReordered);
  }
}

/// Writes down what is asked of it.
class RecordingStore : public ResidentStore {
 public:
  struct Record {
    std::vector<std::size_t> acquired, prefetched, finished;  ///< finished: released after backward
    std::vector<bool> last;                                   ///< by element of `finished`
    int held = 0, steps = 0;
  };
  RecordingStore(ResidentStore&& store, Record& record, bool collective)
      : ResidentStore(std::move(store)), record_(record), collective_(collective) {}
  void prefetch(std::size_t block) override { record_.prefetched.push_back(block); }
  model::BlockWeights acquire(std::size_t block) override {
    EXPECT_TRUE(!record_.prefetched.empty() && record_.prefetched.back() == block) << "asked for early";
    record_.acquired.push_back(block);
    ++record_.held;
    return ResidentStore::acquire(block);
  }
  void release(std::size_t block) override {
    EXPECT_EQ(record_.acquired.back(), block);
    --record_.held;
  }
  void release_after_backward(std::size_t block, bool last) override {
    release(block);
    record_.finished.push_back(block);
    record_.last.push_back(last);
  }
  void finish_step() override { ++record_.steps; }
  bool collective() const override { return collective_; }

 private:
  Record& record_;
  bool collective_;
};

RecordingStore::Record record_of(Trainer& trainer, const std::vector<data::MicroBatch>& batches,
                                 bool collective = false) {
  RecordingStore::Record record;
  auto& resident = dynamic_cast<ResidentStore&>(*trainer.model.store);
  trainer.model.store = std::make_unique<RecordingStore>(std::move(resident), record, collective);
  trainer.gradients_of(batches);
  EXPECT_EQ(record.held, 0) << "every block acquired is released";
  EXPECT_EQ(record.prefetched, record.acquired) << "each block, once, before it is acquired; no other";
  EXPECT_EQ(record.steps, 1);
  return record;
}

std::vector<std::size_t> blocks_visited(Trainer& trainer) {
  return record_of(trainer, {batch_of({5, 4})}).acquired;
}

TEST(Executor, FrozenLowerLayersAreNotWalkedBack) {
  const test::TemporaryFolder folder;
  auto config = tiny_config(tiny_model(folder / "model", "llama"), TrainType::lora);
  config.layers_to_transform = {2};
  for (const auto policy : {config::Recompute::keep, config::Recompute::recompute, config::Recompute::selective}) {
    Trainer upper(config, 0, policy);
    // Blocks: 0 the embedding, 1 … 4 the layers, 5 the head. Layer 2 is block 3; backward stops there.
    EXPECT_THAT(blocks_visited(upper), ElementsAre(0, 1, 2, 3, 4, 5, 4, 3));
    EXPECT_EQ(upper.gradients().size(), 7U * 2);
  }
  config.layers_to_transform = {};
  Trainer all(config);
  EXPECT_THAT(blocks_visited(all), ElementsAre(0, 1, 2, 3, 4, 5, 4, 3, 2, 1));
  auto full = tiny_config(config.model_name, TrainType::full);
  Trainer whole(full);
  EXPECT_THAT(blocks_visited(whole), ElementsAre(0, 1, 2, 3, 4, 5, 4, 3, 2, 1))
      << "the embedding's gradient needs no weights";
}

data::MicroBatch without_labels(data::MicroBatch batch) {
  std::fill(batch.labels.begin(), batch.labels.end(), data::kIgnoreLabel);
  return batch;
}

data::MicroBatch empty_batch() {
  data::MicroBatch empty;
  empty.offsets = {0};
  return empty;
}

// Blocks that are gathered from several processes: each must ask for the same ones, whatever its share of the data is.
TEST(Executor, EveryProcessAsksACollectiveStoreForTheSame) {
  const test::TemporaryFolder folder;
  auto config = tiny_config(tiny_model(folder / "model", "llama"), TrainType::lora);
  config.layers_to_transform = {2};
  const auto full = batch_of({5, 4});
  Trainer with_data(config);
  const auto expected = record_of(with_data, {full, full, full}, true);
  EXPECT_THAT(expected.finished, ElementsAre(5, 4, 3, 5, 4, 3, 5, 4, 3)) << "the head, then backward to layer 2";
  EXPECT_THAT(expected.last, ElementsAre(false, false, false, false, false, false, true, true, true));
  for (const auto& batches : {std::vector<data::MicroBatch>{full, empty_batch(), full},
                              {empty_batch(), empty_batch(), empty_batch()},
                              {full, without_labels(full), empty_batch()}}) {
    Trainer trainer(config);
    const auto found = record_of(trainer, batches, true);
    EXPECT_EQ(found.acquired, expected.acquired);
    EXPECT_EQ(found.finished, expected.finished);
    EXPECT_EQ(found.last, expected.last);
    EXPECT_EQ(trainer.gradients().empty(), batches[0].tokens() == 0);
  }
}

TEST(Executor, WithoutOthersAnEmptyMicroBatchTouchesNoBlock) {
  const test::TemporaryFolder folder;
  Trainer trainer(tiny_config(tiny_model(folder / "model", "llama"), TrainType::lora));
  const auto record = record_of(trainer, {empty_batch(), batch_of({5}), without_labels(batch_of({5}))});
  EXPECT_THAT(record.acquired, ElementsAre(0, 1, 2, 3, 4, 5, 4, 3, 2, 1));
  EXPECT_THAT(record.last, ElementsAre(true, true, true, true, true)) << "nothing comes after it";
}

TEST(Executor, AskingForMoreBlocksEarlyAsksForTheSameOnes) {
  const test::TemporaryFolder folder;
  Trainer trainer(tiny_config(tiny_model(folder / "model", "llama"), TrainType::full));
  std::vector<std::size_t> asked;
  struct Store : ResidentStore {
    Store(ResidentStore&& store, std::vector<std::size_t>& asked) : ResidentStore(std::move(store)), asked(asked) {}
    void prefetch(std::size_t block) override { asked.push_back(block); }
    std::vector<std::size_t>& asked;
  };
  trainer.model.store = std::make_unique<Store>(std::move(dynamic_cast<ResidentStore&>(*trainer.model.store)), asked);
  trainer.options.prefetch_blocks = 3;
  trainer.pass(batch_of({5}));
  EXPECT_THAT(std::vector(asked.begin(), asked.begin() + 3), ElementsAre(0, 1, 2));
  EXPECT_EQ(asked.size(), 3U + 10 - 3) << "each of the 10 once";
  asked.clear();
  trainer.options.prefetch_blocks = 0;
  trainer.pass(batch_of({5}));
  EXPECT_TRUE(asked.empty());
}

TEST(Executor, LayersToTransformGetTheGradientsThatTheyGetAmongAll) {
  const test::TemporaryFolder folder;
  auto config = tiny_config(tiny_model(folder / "model", "qwen2"), TrainType::lora);
  config.layers_to_transform = {1, 3};
  Trainer some(config);
  config.layers_to_transform = {};
  Trainer all(config);
  // Layers 0 and 2 add nothing, as in a model where they carry no adapter.
  const at::NoGradGuard no_grad;
  for (const auto& parameter : all.model.store->parameters()) {
    const bool untouched =
        parameter.name.find("layers.0.") != std::string::npos || parameter.name.find("layers.2.") != std::string::npos;
    if (!parameter.name.ends_with(".lora_B.weight")) continue;
    if (untouched) {
      parameter.stored->data().zero_();
    } else {
      parameter.stored->data().copy_(some.value(parameter.name));
    }
  }
  const auto [loss, gradients] = some.gradients_of({batch_of({9, 5})});
  const auto [all_loss, all_gradients] = all.gradients_of({batch_of({9, 5})});
  EXPECT_EQ(gradients.size(), 2U * 7 * 2);
  EXPECT_NEAR(loss.loss / all_loss.loss, 1, 1e-6);
  for (const auto& [name, gradient] : gradients) {
    EXPECT_LT(test::relative_difference(all_gradients.at(name), gradient), kReordered) << name;
  }
}

TEST(Executor, AnEmptyMicroBatchDoesNothing) {
  const test::TemporaryFolder folder;
  Trainer trainer(tiny_config(tiny_model(folder / "model", "llama"), TrainType::lora));
  const auto empty = empty_batch();
  const auto [sum, gradients] = trainer.gradients_of({empty});
  EXPECT_EQ(sum.loss, 0);
  EXPECT_EQ(sum.tokens, 0);
  EXPECT_TRUE(gradients.empty());
  EXPECT_EQ(Executor(trainer.model, trainer.options).evaluate({&empty, 1}).front().tokens, 0);
}

// A batch without a single label must neither divide by zero nor move a weight.
TEST(Executor, ABatchWithoutLabelsHasNoLossAndNoGradient) {
  const test::TemporaryFolder folder;
  for (const auto type : {TrainType::lora, TrainType::full}) {
    Trainer trainer(tiny_config(tiny_model(folder / "model", "llama"), type));
    const auto batch = without_labels(batch_of({5, 4})), labelled = batch_of({7, 3});
    const auto [sum, nothing] = trainer.gradients_of({batch});
    EXPECT_EQ(sum.loss, 0);
    EXPECT_EQ(sum.tokens, 0);
    for (const auto& [name, gradient] : nothing) EXPECT_EQ(gradient.abs().max().item<float>(), 0) << name;
    // Nor does it change what another batch of the step gives.
    const auto [alone_sum, alone] = trainer.gradients_of({labelled});
    const auto [both_sum, both] = trainer.gradients_of({labelled, batch});
    EXPECT_EQ(both_sum.loss, alone_sum.loss);
    ASSERT_FALSE(alone.empty());
    ASSERT_EQ(both.size(), alone.size());
    for (const auto& [name, gradient] : alone) EXPECT_TRUE(both.at(name).equal(gradient)) << name;
    EXPECT_EQ(Executor(trainer.model, trainer.options).evaluate({&batch, 1}).front().loss, 0);
  }
}

TEST(Executor, ModulesToSaveAreTrainedWhole) {
  const test::TemporaryFolder folder;
  auto config = tiny_config(tiny_model(folder / "model", "llama"), TrainType::qlora);
  config.lora_target_modules = {"q_proj"};
  config.layers_to_transform = {0};
  config.modules_to_save = {"lm_head", "embed_tokens"};
  Trainer trainer(config);
  const auto batch = batch_of({9, 5});
  const auto gradients = trainer.gradients_of({batch}).second;
  std::vector<std::string> names;
  std::vector<at::Tensor> leaves, found;
  for (const auto& parameter : trainer.model.store->trainable()) {
    names.push_back(parameter.name);
    leaves.push_back(parameter.value);
    found.push_back(gradients.at(parameter.name));
  }
  EXPECT_THAT(names, UnorderedElementsAre("lm_head.weight", "model.embed_tokens.weight",
                                          "model.layers.0.self_attn.q_proj.lora_A.weight",
                                          "model.layers.0.self_attn.q_proj.lora_B.weight"));
  Executor executor(trainer.model, trainer.options);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    SCOPED_TRACE(names[i]);
    test::expect_directional(
        [&] {
          return executor.evaluate({&batch, 1}).front().loss;
        },
        {leaves[i]}, {found[i]}, 1e-2, 3e-2);
  }
}

// One tensor, one gradient: that of the embedding plus that of the head.
TEST(Executor, TiedWeightsGetBothGradients) {
  const test::TemporaryFolder folder;
  auto config = test::tiny_architecture("llama");
  config["tie_word_embeddings"] = true;
  auto weights = test::random_weights(config);
  test::write_model(folder / "tied", config, weights);
  config["tie_word_embeddings"] = false;
  weights["lm_head.weight"] = weights.at("model.embed_tokens.weight").clone();
  test::write_model(folder / "untied", config, weights);
  Trainer tied(tiny_config((folder / "tied").string(), TrainType::full));
  Trainer untied(tiny_config((folder / "untied").string(), TrainType::full));
  const auto [loss, gradients] = tied.gradients_of({batch_of({9, 5})});
  auto [same_loss, expected] = untied.gradients_of({batch_of({9, 5})});
  EXPECT_EQ(loss.loss, same_loss.loss);
  expected["model.embed_tokens.weight"].add_(expected.at("lm_head.weight"));
  expected.erase("lm_head.weight");
  expect_same(gradients, expected, 1e-6);
  EXPECT_EQ(tied.model.store->parameters().size() + 1, untied.model.store->parameters().size());
}

// Generation: a prompt, then token by token over the cache, gives the logits of the whole sequence.
TEST_P(ExecutorTest, CachedLogitsEqualThoseOfTheWhole) {
  Trainer trainer(tiny_config(model_, TrainType::lora));
  Executor executor(trainer.model, trainer.options);
  const auto batch = batch_of({20});
  const auto whole = executor.logits(batch);
  std::vector<model::LayerCache> cache(4);
  auto row = executor.next_logits({batch.input_ids.begin(), batch.input_ids.begin() + 9}, 0, cache);
  EXPECT_LT(test::relative_difference(row[0], whole[8]), kReordered);
  for (std::size_t i = 9; i < 20; ++i) {
    row = executor.next_logits({batch.input_ids[i]}, static_cast<std::int64_t>(i), cache);
    EXPECT_LT(test::relative_difference(row[0], whole[static_cast<std::int64_t>(i)]), kReordered) << i;
  }
}

TEST(Executor, RecomputingHoldsLessThanKeeping) {
  const test::TemporaryFolder folder;
  auto architecture = test::tiny_architecture("llama");
  architecture["num_hidden_layers"] = 12;
  test::write_model(folder / "model", architecture, test::random_weights(architecture));
  const auto config = tiny_config((folder / "model").string(), TrainType::qlora);
  std::map<config::Recompute, std::int64_t> peaks;
  for (const auto policy : {config::Recompute::keep, config::Recompute::selective, config::Recompute::recompute}) {
    Trainer trainer(config, 0, policy);
    test::CountingAllocator memory;
    peaks[policy] = memory.peak_of([&] { trainer.pass(batch_of({100, 120, 80})); });
  }
  // 300 tokens, 12 layers. Recomputing keeps one hidden state a layer and works on one: far below half of keeping.
  EXPECT_LT(peaks[config::Recompute::recompute] * 2, peaks[config::Recompute::keep]);
  EXPECT_LT(peaks[config::Recompute::selective], peaks[config::Recompute::keep] * 9 / 10);
  EXPECT_LT(peaks[config::Recompute::recompute], peaks[config::Recompute::selective]);
}

// Evaluation needs no more than a forward pass of one block and the loss's scratch.
TEST(Executor, EvaluatingHoldsLessThanTraining) {
  const test::TemporaryFolder folder;
  Trainer trainer(tiny_config(tiny_model(folder / "model", "llama"), TrainType::lora));
  Executor executor(trainer.model, trainer.options);
  const auto batch = batch_of({100, 120, 80});
  test::CountingAllocator memory;
  const auto evaluating = memory.peak_of([&] { executor.evaluate({&batch, 1}); });
  EXPECT_LT(evaluating, memory.peak_of([&] { trainer.pass(batch); }));
}

}  // namespace
}  // namespace lorica::engine
