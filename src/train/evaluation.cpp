#include "train/evaluation.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "data/sampler.hpp"

namespace lorica::train {

EvaluationSchedule::EvaluationSchedule(const config::Config& config, std::int64_t steps_per_epoch, bool has_data)
    : active_(has_data), every_(config.eval_steps), per_epoch_(steps_per_epoch) {
  evaluations_ = std::clamp<std::int64_t>(config.evals_per_epoch, 1, std::max<std::int64_t>(steps_per_epoch, 1));
}

bool EvaluationSchedule::due(std::int64_t step, bool last) const {
  if (!active_) return false;
  if (last) return true;
  if (every_ > 0) return step % every_ == 0;
  const auto within = (step - 1) % per_epoch_ + 1;
  for (std::int64_t i = 1; i <= evaluations_; ++i) {
    const double exact = static_cast<double>(i * per_epoch_) / static_cast<double>(evaluations_);
    if (within == std::max<std::int64_t>(1, std::llrint(exact))) return true;
  }
  return false;
}

void over_evaluation_batches(const data::TokenizedDataset& dataset, std::int64_t batch_size,
                             const EvaluationShare& share,
                             const std::function<void(std::span<const data::MicroBatch>)>& body) {
  const auto batches = (dataset.size() + batch_size - 1) / batch_size;
  std::vector<data::MicroBatch> group;
  for (std::int64_t begin = 0; begin < batches; begin += share.of) {
    const auto first = std::min((begin + share.first) * batch_size, dataset.size());
    std::vector<std::int64_t> indices(static_cast<std::size_t>(std::min(batch_size, dataset.size() - first)));
    std::iota(indices.begin(), indices.end(), first);
    group.push_back(data::make_micro_batch(dataset, indices));
    if (static_cast<std::int64_t>(group.size()) == share.together || begin + share.of >= batches) {
      body(group);
      group.clear();
    }
  }
}

std::int64_t heaviest_evaluation(const data::TokenizedDataset& dataset, std::int64_t batch_size) {
  std::int64_t most = 0;
  for (std::int64_t begin = 0; begin < dataset.size(); begin += batch_size) {
    std::int64_t tokens = 0;
    for (auto i = begin; i < std::min(begin + batch_size, dataset.size()); ++i) {
      tokens += static_cast<std::int64_t>(dataset.example(i).tokens.size());
    }
    most = std::max(most, tokens);
  }
  return most;
}

}  // namespace lorica::train
