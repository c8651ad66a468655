// Folding a low-rank adapter into its base model, shard by shard, and checking the result against base + adapter.
#pragma once

#include <cstdint>
#include <string>

#include "base/account.hpp"
#include "config/config.hpp"
#include "io/dtype.hpp"

namespace lorica::engine {

struct MergeReport {
  std::int64_t modules = 0;  ///< linear layers that changed, and modules trained whole
  std::int64_t files = 0;
  std::uint64_t bytes = 0;
  std::string dtype;              ///< of the merged weights
  bool dequantized = false;       ///< the base was stored in 4 bits (or was to be seen as QLoRA saw it)
  Account account;                ///< what of the base model's and the adapter's files nothing used
  double largest_difference = 0;  ///< between logits of base + adapter and of the merged model, on probe tokens
  double largest_logit = 0;
  double tolerance = 0;  ///< merge_tolerance() of this model
};

/// What the merged model's numbers are rounded by.
struct MergePrecision {
  double rounding = 0;      ///< unit roundoff of the merged weights
  std::int64_t layers = 0;  ///< decoder layers
  std::int64_t width = 0;   ///< terms of the longest sum
};

/// 2^-24 for float32, 2^-11 for float16, 2^-8 for bfloat16: the largest relative error of rounding to it.
double unit_roundoff(io::Dtype dtype);

/// The difference of logits that rounding explains. Rounded weights change a product by at most `rounding` of its size,
/// by 1/√3 of that on average (errors are spread evenly), its float32 sum of n terms by 2^-24 √n; a token passes four
/// products in a row in each layer and the head's, whose errors add up as squares; the largest of a million differences
/// is within five standard deviations (5/√3 < 4): 4 (rounding + 2^-24 √width) √(4 layers + 1) of the largest logit.
double merge_tolerance(const MergePrecision& precision, double largest_logit);

/// W + scale · s · B A in float32, then one rounding, for each adapted weight of config.model_name; modules trained
/// whole are replaced; everything else, and the tokenizer, is copied as it is. Written to config.output, complete or
/// not at all. With train_type qlora the sum is onto the weight as QLoRA training saw it (quantized and dequantized),
/// else onto the original. Throws ModelError (adapter that doesn't fit the base, a vocabulary that differs), FileError
/// (no space, output exists). Before the folder gets its name, its tensors are read back, and the logits of a few
/// tokens are compared with those of base + adapter, one block of weights at a time: ModelError if they differ by more
/// than merge_tolerance().
MergeReport merge_adapter(const config::Config& config);

}  // namespace lorica::engine
