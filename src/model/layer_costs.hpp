// What blocks cost, as their parts know it, for plans and metrics. Free of Torch.
#pragma once

#include "model/architecture.hpp"
#include "model/parts/costs.hpp"

namespace lorica::model {

struct LayerCosts {
  Held held;    ///< for backward, beyond the layer's input
  Peaks peaks;  ///< while it runs
};

/// Of one decoder layer, a token.
LayerCosts layer_costs(const Architecture& architecture, int64_t layer, const RunFacts& facts);

/// Of attention in one decoder layer over a sequence of that length, forward, its projections not counted.
double attention_flops(const Architecture& architecture, int64_t layer, double length);

/// Of the matrix products of a block, forward, a row.
double product_flops(const BlockSpec& block);

}  // namespace lorica::model
