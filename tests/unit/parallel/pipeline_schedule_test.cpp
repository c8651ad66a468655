// Schedules: every pass once, nothing waits for ever, few micro-batches in flight, the bubble that theory gives.
#include "parallel/pipeline_schedule.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "base/error.hpp"

namespace lorica::parallel {
namespace {

using Kind = Action::Kind;
using testing::ElementsAre;

struct Shape {
  int stages, chunks, micro_batches;
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (int stages = 1; stages <= 6; ++stages) {
    for (int chunks = 1; chunks <= 4; ++chunks) {
      for (int micro_batches = 0; micro_batches <= 14; ++micro_batches) all.push_back({stages, chunks, micro_batches});
    }
  }
  all.push_back({16, 8, 128});
  all.push_back({16, 8, 5});
  return all;
}

std::string text(const Schedule& schedule, int stage) {
  std::string result;
  for (const auto& action : schedule.actions.at(static_cast<std::size_t>(stage))) {
    result += action.kind == Kind::forward ? 'F' : 'B';
    if (schedule.chunks > 1) result += static_cast<char>('a' + action.chunk);
    result += std::to_string(action.micro_batch) + " ";
  }
  return result;
}

TEST(PipelineSchedule, OneForwardOneBackward) {
  const auto schedule = training_schedule(3, 1, 4);
  EXPECT_EQ(text(schedule, 0), "F0 F1 F2 B0 F3 B1 B2 B3 ");
  EXPECT_EQ(text(schedule, 1), "F0 F1 B0 F2 B1 F3 B2 B3 ");
  EXPECT_EQ(text(schedule, 2), "F0 B0 F1 B1 F2 B2 F3 B3 ");
  EXPECT_EQ(text(training_schedule(1, 1, 2), 0), "F0 B0 F1 B1 ");
}

// Megatron's order for 2 stages with 2 chunks each and 4 micro-batches.
TEST(PipelineSchedule, Interleaved) {
  const auto schedule = training_schedule(2, 2, 4);
  EXPECT_EQ(text(schedule, 0), "Fa0 Fa1 Fb0 Fb1 Fa2 Bb0 Fa3 Bb1 Fb2 Ba0 Fb3 Ba1 Bb2 Bb3 Ba2 Ba3 ");
  EXPECT_EQ(text(schedule, 1), "Fa0 Fa1 Fb0 Bb0 Fb1 Bb1 Fa2 Ba0 Fa3 Ba1 Fb2 Bb2 Fb3 Bb3 Ba2 Ba3 ");
}

TEST(PipelineSchedule, EveryPassOnceInOrder) {
  for (const auto& [stages, chunks, micro_batches] : shapes()) {
    SCOPED_TRACE(testing::Message() << stages << " stages, " << chunks << " chunks, " << micro_batches);
    const auto training = training_schedule(stages, chunks, micro_batches);
    const auto evaluation = forward_schedule(stages, chunks, micro_batches);
    for (std::size_t stage = 0; stage < static_cast<std::size_t>(stages); ++stage) {
      std::set<std::tuple<Kind, int, int>> seen;
      // The micro-batch that is next, by direction and chunk: ascending.
      std::map<std::pair<Kind, int>, int> next;
      for (const auto& action : training.actions[stage]) {
        EXPECT_EQ(action.micro_batch, (next[{action.kind, action.chunk}]++));
        if (action.kind == Kind::backward) {
          EXPECT_TRUE(seen.contains({Kind::forward, action.chunk, action.micro_batch}));
        }
        seen.insert({action.kind, action.chunk, action.micro_batch});
      }
      EXPECT_EQ(seen.size(), static_cast<std::size_t>(2 * chunks * micro_batches));
      EXPECT_EQ(training.actions[stage].size(), seen.size());
      EXPECT_EQ(evaluation.actions[stage].size(), static_cast<std::size_t>(chunks * micro_batches));
    }
  }
}

// simulate() receives before it runs, and throws if that comes to no end.
TEST(PipelineSchedule, NoStageWaitsForEver) {
  for (const auto& [stages, chunks, micro_batches] : shapes()) {
    SCOPED_TRACE(testing::Message() << stages << " stages, " << chunks << " chunks, " << micro_batches);
    EXPECT_NO_THROW(simulate(training_schedule(stages, chunks, micro_batches), 1, 2));
    EXPECT_NO_THROW(simulate(forward_schedule(stages, chunks, micro_batches), 1, 0));
  }
}

// NCCL matches messages by order alone: between two stages, activations must be sent in the order in which the other
// one asks for them, and gradients, too (cuda/nccl_transport.cpp).
TEST(PipelineSchedule, MessagesAreAskedForInTheOrderOfSending) {
  using Sequence = std::vector<std::pair<int, int>>;  // part that receives, micro-batch
  for (const auto& [stages, chunks, micro_batches] : shapes()) {
    if (stages == 1) continue;
    SCOPED_TRACE(testing::Message() << stages << " stages, " << chunks << " chunks, " << micro_batches);
    for (const auto& schedule :
         {training_schedule(stages, chunks, micro_batches), forward_schedule(stages, chunks, micro_batches)}) {
      std::map<std::tuple<int, int, Kind>, Sequence> sent, asked;  // by sender, receiver, kind
      for (int stage = 0; stage < stages; ++stage) {
        for (const auto& action : schedule.actions[static_cast<std::size_t>(stage)]) {
          const int part = action.chunk * stages + stage, step = action.kind == Kind::forward ? 1 : -1;
          const auto exists = [&, last = stages * chunks](int other) { return other >= 0 && other < last; };
          if (exists(part + step)) {
            sent[{stage, (part + step) % stages, action.kind}].emplace_back(part + step, action.micro_batch);
          }
          if (exists(part - step)) {
            asked[{(part - step) % stages, stage, action.kind}].emplace_back(part, action.micro_batch);
          }
        }
      }
      EXPECT_EQ(sent, asked);
    }
  }
}

TEST(PipelineSchedule, ACircleIsNoticed) {
  auto schedule = training_schedule(2, 1, 2);
  std::swap(schedule.actions[0][1], schedule.actions[0][2]);
  std::swap(schedule.actions[1][0], schedule.actions[1][2]);
  EXPECT_THROW(simulate(schedule, 1, 1), Error);
}

TEST(PipelineSchedule, FewMicroBatchesAreInFlight) {
  for (const auto& [stages, chunks, micro_batches] : shapes()) {
    const auto schedule = training_schedule(stages, chunks, micro_batches);
    for (int stage = 0; stage < stages; ++stage) {
      const int bound = chunks == 1 ? stages - stage : 2 * (stages - stage - 1) + (chunks - 1) * stages + 1;
      EXPECT_LE(schedule.most_in_flight(stage), bound);
      EXPECT_EQ(schedule.most_in_flight(stage) > 0, micro_batches > 0);
    }
  }
}

TEST(PipelineSchedule, TheBubbleIsThatOfTheory) {
  for (const auto& [stages, chunks, micro_batches] : shapes()) {
    if (micro_batches == 0) continue;
    // Fewer micro-batches than stages, or a group that isn't full, leave more idle than the formula.
    if (chunks > 1 && micro_batches % stages != 0) continue;
    SCOPED_TRACE(testing::Message() << stages << " stages, " << chunks << " chunks, " << micro_batches);
    const auto [length, idle, bubble] = simulate(training_schedule(stages, chunks, micro_batches), 1, 2);
    const double p = stages, m = micro_batches, v = chunks;
    EXPECT_NEAR(bubble, (p - 1) / (v * m + p - 1), 1e-9);
    EXPECT_NEAR(length, 3 * (v * m + p - 1), 1e-9);
    for (const auto share : idle) EXPECT_NEAR(share, bubble, 1e-9);
  }
}

TEST(PipelineSchedule, InterleavingHelpsGroupsThatAreNotFull) {
  for (int micro_batches = 5; micro_batches < 20; ++micro_batches) {
    const double plain = simulate(training_schedule(4, 1, micro_batches), 2, 4).length;
    EXPECT_LE(simulate(training_schedule(4, 2, micro_batches), 1, 2).length, plain) << micro_batches;
  }
}

}  // namespace
}  // namespace lorica::parallel
