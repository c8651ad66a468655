// When to evaluate, and on which batches.
#pragma once

#include <functional>
#include <span>

#include "config/config.hpp"
#include "data/dataset.hpp"
#include "data/micro_batch.hpp"

namespace lorica::train {

/// Every eval_steps steps, or evals_per_epoch times an epoch (after round(i · steps / evals), so that each epoch's end
/// is one of them), or with neither at the end of each epoch; and always after the last step.
class EvaluationSchedule {
 public:
  EvaluationSchedule() = default;
  EvaluationSchedule(const config::Config& config, std::int64_t steps_per_epoch, bool has_data);
  bool active() const { return active_; }
  bool due(std::int64_t step, bool last) const;

 private:
  bool active_ = false;
  std::int64_t every_ = 0, per_epoch_ = 0, evaluations_ = 0;
};

/// One data-parallel process's share of the evaluation: every `of`-th micro-batch from `first` on, `together` at a
/// time.
struct EvaluationShare {
  std::int64_t first = 0, of = 1, together = 1;
};

/// Calls body(micro-batches) on the evaluation examples in order, batch_size to a micro-batch. Every process gets the
/// same number of calls with the same number of micro-batches; some may be empty.
void over_evaluation_batches(const data::TokenizedDataset& dataset, std::int64_t batch_size,
                             const EvaluationShare& share,
                             const std::function<void(std::span<const data::MicroBatch>)>& body);

/// Tokens of the largest of these micro-batches; 0 without data.
std::int64_t heaviest_evaluation(const data::TokenizedDataset& dataset, std::int64_t batch_size);

}  // namespace lorica::train
