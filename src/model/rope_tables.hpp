// Rotary tables of one micro-batch.
#pragma once

#include <span>

#include "model/architecture.hpp"
#include "model/batch.hpp"

namespace lorica::model {

/// A table for each of the architecture's ropes: cos and sin at `positions` [T], on `device`. Types whose frequencies
/// depend on the length take each sequence's own (`offsets` [S + 1]), so that what else is in the batch changes
/// nothing.
std::vector<RopeTable> make_rope_tables(const Architecture& architecture, std::span<const std::int32_t> positions,
                                        std::span<const std::int64_t> offsets, at::Device device);

}  // namespace lorica::model
