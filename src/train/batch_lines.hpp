// What --verbose says of a step before it is computed.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "data/micro_batch.hpp"

namespace lorica::train {

/// A line for each micro-batch of this process: its tokens, its sequences, and the rows that they come from.
std::vector<std::string> batch_lines(const data::StepBatch& batch, const data::TokenizedDataset& dataset,
                                     std::int64_t step);

}  // namespace lorica::train
