// Dealing blocks to stages: qlora-pipe-lite's cuts, every block once, errors.
#include "parallel/partition.hpp"

#include <gmock/gmock.h>

#include <chrono>

#include "base/error.hpp"
#include "base/random.hpp"

namespace lorica::parallel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// An embedding, `layers` decoder layers with these trained elements, a head.
std::vector<BlockFacts> model_of(std::size_t layers, std::int64_t each = 10, std::int64_t ends = 0) {
  std::vector<BlockFacts> blocks{{BlockFacts::Kind::embedding, ends}};
  blocks.insert(blocks.end(), layers, {BlockFacts::Kind::decoder_layer, each});
  blocks.push_back({BlockFacts::Kind::head, ends});
  return blocks;
}

/// Blocks of each part, in the model's order.
std::vector<std::size_t> sizes(const std::vector<BlockFacts>& blocks, const std::string& method, int stages,
                               int interleave = 1) {
  const auto runs = partition(blocks, method, stages, interleave);
  std::vector<std::size_t> result;
  std::size_t next = 0;
  for (int part = 0; part < stages * interleave; ++part) {
    const auto& run = runs.at(static_cast<std::size_t>(part % stages)).at(static_cast<std::size_t>(part / stages));
    EXPECT_EQ(run.begin, next);
    next = run.end;
    result.push_back(run.end - run.begin);
  }
  EXPECT_EQ(next, blocks.size());
  return result;
}

std::string error_of(const std::vector<BlockFacts>& blocks, const std::string& method, int stages, int interleave = 1) {
  try {
    partition(blocks, method, stages, interleave);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

// By hand from the rule: 32 decoder layers are 37 layers; 2 stages have 19 and 18: P E D×17 | D×15 N H L.
TEST(Partition, UniformCountsTheLayersThatQloraPipeLiteCounts) {
  EXPECT_THAT(sizes(model_of(32), "uniform", 2), ElementsAre(18, 16));
  // 37 = 10 + 9 + 9 + 9: P E D×8 | D×9 | D×9 | D×6 N H L.
  EXPECT_THAT(sizes(model_of(32), "uniform", 4), ElementsAre(9, 9, 9, 7));
  // 9 = 3 + 2 + 2 + 2: P E D | D D | D N | H L; the cut before H is moved to before N.
  EXPECT_THAT(sizes(model_of(4), "uniform", 4), ElementsAre(2, 2, 1, 1));
  EXPECT_THAT(sizes(model_of(4), "UNIFORM", 1), ElementsAre(6));
}

TEST(Partition, EveryPartHasABlock) {
  EXPECT_THAT(sizes(model_of(4), "uniform", 6), ElementsAre(1, 1, 1, 1, 1, 1));
  for (std::size_t layers = 1; layers < 9; ++layers) {
    for (const std::string method : {"uniform", "parameters", "type:decoderlayer", "type:head", "type:."}) {
      for (int stages = 1; stages <= static_cast<int>(layers) + 2; ++stages) {
        for (int interleave = 1; stages * interleave <= static_cast<int>(layers) + 2; ++interleave) {
          for (const auto size : sizes(model_of(layers, 3, 7), method, stages, interleave)) EXPECT_GE(size, 1U);
        }
      }
    }
  }
}

TEST(Partition, TypeCountsTheLayersThatAreFound) {
  // 4 of 8 layers each; the embedding falls to the first, the head to the last.
  EXPECT_THAT(sizes(model_of(8), "type:decoderlayer", 2), ElementsAre(5, 5));
  EXPECT_THAT(sizes(model_of(8), "type:DecoderLayerPipe", 2), ElementsAre(5, 5));
  EXPECT_THAT(sizes(model_of(8), "Type:^decoder", 4), ElementsAre(3, 2, 2, 3));
  // Two found: one each; of all such cuts the latest.
  EXPECT_THAT(sizes(model_of(4), "type:embedding|lmhead", 2), ElementsAre(5, 1));
  EXPECT_THAT(sizes(model_of(4), "type:^embedding$|^head$", 2), ElementsAre(5, 1));
  // A colon of the expression's own.
  EXPECT_THAT(sizes(model_of(8), "type:(?:decoder)layer", 2), ElementsAre(5, 5));
}

TEST(Partition, ParametersBalanceWhatIsTrained) {
  EXPECT_THAT(sizes(model_of(6), "parameters", 2), ElementsAre(4, 4));
  // Full fine-tuning of a large vocabulary: an end weighs as much as three layers.
  EXPECT_THAT(sizes(model_of(6, 10, 30), "parameters", 2), ElementsAre(4, 4));
  EXPECT_THAT(sizes(model_of(6, 10, 30), "parameters", 4), ElementsAre(1, 3, 3, 1));
}

// Small models, random weights: mostly the best of all cuts.
TEST(Partition, WeightedCutsAreCloseToTheBestOfAll) {
  int best_found = 0, cases = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    auto blocks = model_of(7);
    std::vector<double> weights;
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      blocks[b].trained = static_cast<std::int64_t>(random_below(random_key({seed}), b, 50));
      weights.push_back(static_cast<double>(blocks[b].trained));
    }
    const auto spread = [&](std::size_t first, std::size_t second) {
      double sums[3] = {0, 0, 0};
      for (std::size_t b = 0; b < weights.size(); ++b) sums[b < first ? 0 : b < second ? 1 : 2] += weights[b];
      return *std::max_element(sums, sums + 3) - *std::min_element(sums, sums + 3);
    };
    double best = 1e9;
    for (std::size_t first = 1; first < 8; ++first) {
      for (std::size_t second = first + 1; second < 9; ++second) best = std::min(best, spread(first, second));
    }
    const auto found = sizes(blocks, "parameters", 3);
    ++cases;
    best_found += spread(found[0], found[0] + found[1]) == best;
  }
  EXPECT_GT(best_found, cases * 2 / 3);
}

TEST(Partition, ErrorsSayWhatToDo) {
  EXPECT_THAT(error_of(model_of(4), "uniform", 7), HasSubstr("at most 6 stages fit"));
  EXPECT_THAT(error_of(model_of(4), "uniform", 2, 4), HasSubstr("at most 1 stages fit"));
  EXPECT_THAT(error_of(model_of(4), "layers", 2), HasSubstr("none of uniform, parameters, type:REGEX"));
  EXPECT_THAT(error_of(model_of(4), "type:[", 2), HasSubstr("\"[\" is not a regular expression"));
  EXPECT_THAT(error_of(model_of(4), "type:mamba", 2), HasSubstr("found in no layer's type"));
  EXPECT_THAT(error_of(model_of(4), "type:" + std::string(1000, 'a'), 2), HasSubstr("1000 characters"));
}

TEST(Partition, AnExpressionThatBacktracksEndsSoon) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(error_of(model_of(80), "type:((a|b|c|d|e|.)*)*(([a-z]*)*)*x$", 2), HasSubstr("partition_method"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

}  // namespace
}  // namespace lorica::parallel
