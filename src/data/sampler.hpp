// Which examples make up each step, and on which rank. A step is chosen globally and then dealt out, so that the number
// of ranks can't change what is learned; the state is three numbers, so that a resumed run goes on exactly.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "data/micro_batch.hpp"

namespace lorica::data {

struct SamplerOptions {
  std::int64_t batch_size = 1;     ///< examples in a micro-batch; with packing, its size in units of context_length
  std::int64_t accumulation = 1;   ///< micro-batches of a rank between two updates
  std::int64_t data_parallel = 1;  ///< ranks that share a step; accumulation × data_parallel micro-batches make a step
  bool packing = false;            ///< fill micro-batches up to batch_size × context_length tokens
  std::int64_t context_length = 512;
  std::int64_t look_ahead = 256;  ///< packing: examples that first-fit may choose among
  bool shuffle = true;            ///< false: the data set's order
  bool reshuffle = true;          ///< a new order every epoch, from (seed, epoch); false: epoch 0's again
  std::uint64_t seed = 42;
};

class BatchSampler {
 public:
  /// Throws ConfigError (a size < 1) and DataError (empty data set; packing with an example longer than
  /// context_length).
  BatchSampler(TokenizedDataset dataset, SamplerOptions options);

  /// Optimizer steps of an epoch; the last one may be short. With packing it may differ from epoch to epoch.
  std::int64_t steps_in_epoch(std::int64_t epoch) const;
  std::int64_t total_steps(std::int64_t epochs) const;

  std::int64_t epoch() const { return epoch_; }
  std::int64_t step_in_epoch() const { return step_; }
  /// Steps taken since the start of epoch 0.
  std::int64_t steps_taken() const { return steps_taken_; }

  /// The current step's share of `rank`: micro-batches balanced by tokens. Every rank gets the same number of them, so
  /// that collectives match: where they don't divide, some are empty (tokens() == 0). The totals of StepBatch are the
  /// whole step's. The micro-batches of all ranks together don't depend on `world`.
  StepBatch step_for(std::int64_t rank, std::int64_t world) const;
  /// Goes on to the next step, and after the last one to the next epoch.
  void advance();
  /// step_for() and advance().
  StepBatch next(std::int64_t rank = 0, std::int64_t world = 1);

  /// The heaviest micro-batch that can occur: the batch_size longest examples (packing: as many of the longest as fit),
  /// for a trial before the run, so that it doesn't run out of memory hours in.
  MicroBatch largest_micro_batch() const;

  /// {"epoch", "step", "steps_taken", "dataset", "options"}: small, exact.
  nlohmann::json state() const;
  /// Throws DataError if the state belongs to other data, or to options under which its position means something else.
  void restore(const nlohmann::json& state);

 private:
  /// An epoch's micro-batches: examples[starts[m]] … examples[starts[m+1]) are micro-batch m.
  struct Plan {
    std::int64_t epoch = -1;
    std::vector<std::int64_t> examples;
    std::vector<std::int64_t> starts;
    std::int64_t micro_batches() const { return static_cast<std::int64_t>(starts.size()) - 1; }
  };
  Plan make_plan(std::int64_t epoch) const;
  void pack(const std::vector<std::int64_t>& order, Plan& plan) const;
  std::int64_t micro_batches_per_step() const { return options_.accumulation * options_.data_parallel; }
  std::int64_t steps_of(const Plan& plan) const;
  nlohmann::json order_options() const;
  /// Tokens of micro-batch `index` of the plan.
  std::int64_t plan_tokens(std::int64_t index) const;
  std::span<const std::int64_t> plan_examples(std::int64_t index) const;

  TokenizedDataset dataset_;
  SamplerOptions options_;
  Plan plan_;  ///< the current epoch's
  std::int64_t epoch_ = 0, step_ = 0, steps_taken_ = 0;
};

/// The examples at `indices`, laid end to end.
MicroBatch make_micro_batch(const TokenizedDataset& dataset, std::span<const std::int64_t> indices);

}  // namespace lorica::data
