// Sums over processes whose result doesn't depend on who was first.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lorica::parallel {

/// out[i] = Σ parts[p][i], added up in the order of `parts` (double for double, int64 for integers, else float32) and
/// rounded once to out's dtype. All of one length and flat; the parts have one dtype. `out` may be one of the parts.
/// Runs on the caller's thread alone.
void sum_in_order(const std::vector<at::Tensor>& parts, const at::Tensor& out);

}  // namespace lorica::parallel
