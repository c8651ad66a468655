// Steps: complete, seeded, the same for any number of ranks, resumable.
#include "data/sampler.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/fixture.hpp"

namespace lorica::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SamplerTest : public DataTest {
 protected:
  /// `count` examples of 5 to 44 tokens.
  TokenizedDataset dataset(int count, const std::string& file = "rows.jsonl") {
    std::string rows;
    for (int i = 0; i < count; ++i) {
      const auto length = 1 + random_below(9, static_cast<std::uint64_t>(i), 40);
      rows += fmt::format("{{\"prompt\": \"p{}\", \"completion\": \"{}\"}}\n", i % 10, std::string(length, 'x'));
    }
    return load(write(file, rows));
  }
  static std::vector<std::int64_t> examples(const StepBatch& step) {
    std::vector<std::int64_t> all;
    for (const auto& batch : step.micro_batches) all.insert(all.end(), batch.examples.begin(), batch.examples.end());
    return all;
  }
  static std::vector<std::int64_t> epoch_examples(BatchSampler& sampler) {
    std::vector<std::int64_t> all;
    for (auto steps = sampler.steps_in_epoch(sampler.epoch()); steps > 0; --steps) {
      const auto some = examples(sampler.next());
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }
  static std::vector<std::int64_t> sorted(std::vector<std::int64_t> values) {
    std::sort(values.begin(), values.end());
    return values;
  }
  static std::vector<std::int64_t> counted(std::int64_t count) {
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < count; ++i) all.push_back(i);
    return all;
  }
};

TEST_F(SamplerTest, MicroBatchIsRaggedAndShifted) {
  const auto data = load(
      write("rows.jsonl", "{\"prompt\": \"p\", \"completion\": \"ab\"}\n{\"prompt\": \"q\", \"completion\": \"c\"}"));
  const auto batch = make_micro_batch(data, std::vector<std::int64_t>{1, 0});
  EXPECT_THAT(batch.input_ids, ElementsAre(1, 'q' + 3, 'c' + 3, 2, 1, 'p' + 3, 'a' + 3, 'b' + 3, 2));
  EXPECT_THAT(batch.labels, ElementsAre(-100, 'c' + 3, 2, -100, -100, 'a' + 3, 'b' + 3, 2, -100));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 2, 3, 0, 1, 2, 3, 4));
  EXPECT_THAT(batch.offsets, ElementsAre(0, 4, 9));
  EXPECT_THAT(batch.examples, ElementsAre(1, 0));
  EXPECT_EQ(batch.supervised(), data.supervised_tokens());
}

TEST_F(SamplerTest, EveryExampleOnceAnEpochInASeededOrder) {
  const auto data = dataset(23);
  BatchSampler sampler(data, {.batch_size = 2, .accumulation = 3});
  EXPECT_EQ(sampler.steps_in_epoch(0), 4);  // the last step is short
  EXPECT_EQ(sampler.total_steps(3), 12);
  const auto first = epoch_examples(sampler), second = epoch_examples(sampler);
  EXPECT_EQ(sampler.epoch(), 2);
  EXPECT_EQ(sorted(first), counted(23));
  EXPECT_EQ(sorted(second), counted(23));
  EXPECT_NE(first, second);
  BatchSampler same(data, {.batch_size = 2, .accumulation = 3}),
      other(data, {.batch_size = 2, .accumulation = 3, .seed = 43});
  EXPECT_EQ(epoch_examples(same), first);
  EXPECT_NE(epoch_examples(other), first);
}

TEST_F(SamplerTest, OneOrderOrNone) {
  const auto data = dataset(9);
  BatchSampler fixed(data, {.batch_size = 4, .reshuffle = false});
  const auto first = epoch_examples(fixed);
  EXPECT_EQ(epoch_examples(fixed), first);
  EXPECT_NE(first, counted(9));
  BatchSampler unshuffled(data, {.batch_size = 4, .shuffle = false});
  EXPECT_EQ(epoch_examples(unshuffled), counted(9));
}

TEST_F(SamplerTest, TotalsAreTheWholeSteps) {
  BatchSampler sampler(dataset(12), {.batch_size = 2, .accumulation = 2, .data_parallel = 2});
  const auto whole = sampler.step_for(0, 1);
  std::int64_t tokens = 0, supervised = 0;
  for (const auto& batch : whole.micro_batches) tokens += batch.tokens(), supervised += batch.supervised();
  EXPECT_EQ(whole.tokens, tokens);
  EXPECT_EQ(whole.supervised, supervised);
  EXPECT_EQ(whole.examples, 8);
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    const auto part = sampler.step_for(rank, 2);
    EXPECT_EQ(part.tokens, tokens);
    EXPECT_EQ(part.supervised, supervised);
    EXPECT_EQ(part.examples, 8);
  }
}

// Peers' row 9 (packed examples attend to each other), the batch's side: the same tokens, labels and positions per
// example as unpacked, each its own sequence, never above the micro-batch's size.
TEST_F(SamplerTest, Row9PackedEqualsUnpacked) {
  const auto data = dataset(200);
  BatchSampler packed(data, {.batch_size = 2, .accumulation = 3, .packing = true, .context_length = 64});
  std::int64_t seen = 0, used = 0, batches = 0;
  std::set<std::int64_t> ids;
  for (auto steps = packed.steps_in_epoch(0); steps > 0; --steps) {
    for (const auto& batch : packed.next().micro_batches) {
      ++batches;
      used += batch.tokens();
      EXPECT_LE(batch.tokens(), 128);
      for (std::size_t s = 0; s < batch.examples.size(); ++s) {
        const auto single = make_micro_batch(data, std::span(&batch.examples[s], 1));
        const auto cut = [&](const std::vector<std::int32_t>& all) {
          return std::vector<std::int32_t>(all.begin() + batch.offsets[s], all.begin() + batch.offsets[s + 1]);
        };
        EXPECT_EQ(cut(batch.input_ids), single.input_ids);
        EXPECT_EQ(cut(batch.labels), single.labels);
        EXPECT_EQ(cut(batch.positions), single.positions);
        ids.insert(batch.examples[s]);
        ++seen;
      }
    }
  }
  EXPECT_EQ(seen, 200);
  EXPECT_EQ(ids.size(), 200u);
  EXPECT_EQ(used, data.tokens());
  EXPECT_GT(static_cast<double>(used) / static_cast<double>(batches * 128), 0.95)
      << "first fit leaves little room unused";
}

TEST_F(SamplerTest, PackedStepsAreKnownInAdvance) {
  BatchSampler sampler(dataset(150), {.accumulation = 2, .packing = true, .context_length = 64, .look_ahead = 8});
  const auto planned = sampler.total_steps(3);
  std::int64_t taken = 0;
  while (sampler.epoch() < 3) sampler.advance(), ++taken;
  EXPECT_EQ(taken, planned);
  EXPECT_EQ(sampler.steps_taken(), planned);
}

TEST_F(SamplerTest, PackingRefusesLongExamples) {
  EXPECT_THAT(message<DataError>([&] { BatchSampler(dataset(50), {.packing = true, .context_length = 16}); }),
              HasSubstr("packing"));
}

// Peers' row 1, the sampler's side: how many ranks share a step changes neither its examples nor its micro-batches.
TEST_F(SamplerTest, Row1AnyWorldDealsTheSameStep) {
  const auto data = dataset(101);
  for (const bool packing : {false, true}) {
    BatchSampler sampler(
        data, {.batch_size = 2, .accumulation = 6, .data_parallel = 2, .packing = packing, .context_length = 64});
    for (auto steps = sampler.steps_in_epoch(0); steps > 0; --steps, sampler.advance()) {
      std::set<std::vector<std::int64_t>> alone;
      for (const auto& batch : sampler.step_for(0, 1).micro_batches) alone.insert(batch.examples);
      for (const std::int64_t world : {2, 3, 5}) {
        std::set<std::vector<std::int64_t>> together;
        std::set<std::size_t> sizes;
        std::size_t dealt = 0;
        for (std::int64_t rank = 0; rank < world; ++rank) {
          const auto share = sampler.step_for(rank, world);
          sizes.insert(share.micro_batches.size());
          for (const auto& batch : share.micro_batches) {
            if (batch.sequences() == 0) {
              EXPECT_THAT(batch.offsets, ElementsAre(0));
              continue;
            }
            together.insert(batch.examples);
            ++dealt;
          }
        }
        EXPECT_EQ(together, alone);
        EXPECT_EQ(dealt, alone.size());
        EXPECT_EQ(sizes.size(), 1u) << "ranks run in lockstep";
      }
    }
  }
}

TEST_F(SamplerTest, SharesAreBalanced) {
  BatchSampler sampler(dataset(64), {.batch_size = 1, .accumulation = 16, .data_parallel = 4});
  std::vector<std::int64_t> loads;
  for (std::int64_t rank = 0; rank < 4; ++rank) {
    std::int64_t tokens = 0;
    for (const auto& batch : sampler.step_for(rank, 4).micro_batches) tokens += batch.tokens();
    loads.push_back(tokens);
  }
  // Rounds are sorted by weight, so shares differ by less than the longest example (44 tokens).
  EXPECT_LT(*std::max_element(loads.begin(), loads.end()) - *std::min_element(loads.begin(), loads.end()), 44);
}

// Peers' row 12 (resume restarts or replays the data): a restored sampler goes on with the very next step.
TEST_F(SamplerTest, Row12RestoredSamplerGoesOnExactly) {
  const auto data = dataset(61);
  for (const bool packing : {false, true}) {
    const SamplerOptions options{.batch_size = 2, .accumulation = 2, .packing = packing, .context_length = 64};
    BatchSampler whole(data, options);
    const auto total = whole.total_steps(3);
    for (std::int64_t stop = 0; stop < total; ++stop) {
      // Through text, as a checkpoint does it.
      const auto saved = nlohmann::json::parse(whole.state().dump());
      BatchSampler resumed(data, options);
      resumed.restore(saved);
      EXPECT_EQ(resumed.steps_taken(), stop);
      EXPECT_EQ(resumed.epoch(), whole.epoch());
      for (int i = 0; i < 3; ++i) {
        const auto next = resumed.next();
        if (i == 0) {
          EXPECT_EQ(examples(next), examples(whole.step_for(0, 1)));
        }
      }
      whole.advance();
      EXPECT_EQ(resumed.steps_taken(), stop + 3);
    }
  }
}

TEST_F(SamplerTest, Row12RanksMayChangeOnResumeIfTheStepDoesNot) {
  const auto data = dataset(40);
  BatchSampler two(data, {.batch_size = 2, .accumulation = 2, .data_parallel = 2});
  two.advance();
  BatchSampler one(data, {.batch_size = 2, .accumulation = 4, .data_parallel = 1});
  one.restore(two.state());
  EXPECT_EQ(examples(one.step_for(0, 1)), examples(two.step_for(0, 1)));
}

TEST_F(SamplerTest, Row12AForeignStateIsRefused) {
  const auto data = dataset(40);
  BatchSampler sampler(data, {.batch_size = 2});
  const auto state = sampler.state();
  BatchSampler other_batch(data, {.batch_size = 3});
  EXPECT_THAT(message<DataError>([&] { other_batch.restore(state); }),
              HasSubstr("depends on batch_size: it was 2 and is now 3"));
  BatchSampler other_data(dataset(41, "other.jsonl"), {.batch_size = 2});
  EXPECT_THAT(message<DataError>([&] { other_data.restore(state); }), HasSubstr("other data"));
  auto damaged = state;
  damaged["step"] = 20;
  EXPECT_THAT(message<DataError>([&] { sampler.restore(damaged); }), HasSubstr("place in the data"));
  damaged["step"] = "x";
  EXPECT_THAT(message<DataError>([&] { sampler.restore(damaged); }), HasSubstr("can't be read"));
  EXPECT_THAT(message<DataError>([&] { sampler.restore(nlohmann::json::object()); }), HasSubstr("can't be read"));
  sampler.restore(state);
}

// Peers' row 19 (out of memory hours in, on a long batch): no micro-batch of any epoch is heavier than the trial's.
TEST_F(SamplerTest, Row19LargestMicroBatchBoundsAllOthers) {
  const auto data = dataset(90);
  for (const bool packing : {false, true}) {
    BatchSampler sampler(data, {.batch_size = 3, .packing = packing, .context_length = 48});
    const auto largest = sampler.largest_micro_batch();
    const auto longest = [](const MicroBatch& batch) {
      std::int32_t length = 0;
      for (std::size_t s = 1; s < batch.offsets.size(); ++s)
        length = std::max(length, batch.offsets[s] - batch.offsets[s - 1]);
      return length;
    };
    EXPECT_EQ(longest(largest), data.longest());
    while (sampler.epoch() < 4) {
      for (const auto& batch : sampler.next().micro_batches) {
        EXPECT_LE(batch.tokens(), largest.tokens());
        EXPECT_LE(longest(batch), longest(largest));
      }
    }
  }
}

TEST_F(SamplerTest, BadOptionsAreRefused) {
  const auto data = dataset(3);
  EXPECT_THAT(message<ConfigError>([&] { BatchSampler(data, {.batch_size = 0}); }), HasSubstr("batch_size is 0"));
  EXPECT_THAT(message<ConfigError>([&] { BatchSampler(data, {.accumulation = 0}); }),
              HasSubstr("gradient_accumulation_steps"));
  EXPECT_THROW(BatchSampler(TokenizedDataset(), {}), DataError);
}

}  // namespace
}  // namespace lorica::data
