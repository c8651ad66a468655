#include "train/batch_lines.hpp"

#include <fmt/format.h>

#include "base/strings.hpp"
#include "train/run_folder.hpp"

namespace lorica::train {

std::vector<std::string> batch_lines(const data::StepBatch& batch, const data::TokenizedDataset& dataset,
                                     std::int64_t step) {
  std::vector<std::string> lines;
  for (const auto& micro : batch.micro_batches) {
    std::vector<std::string> origins;
    for (const auto id : micro.examples) origins.push_back(origin_of(dataset, id));
    lines.push_back(fmt::format("step {}, micro-batch {} of {}: {} tokens in {} sequences ({})", step, lines.size() + 1,
                                batch.micro_batches.size(), micro.tokens(), micro.sequences(), join(origins, ", ")));
  }
  return lines;
}

}  // namespace lorica::train
