// Folding a low-rank adapter into its base model, shard by shard, and checking the result against base + adapter.
#pragma once

#include <cstdint>
#include <string>

#include "config/config.hpp"

namespace lorica::engine {

struct MergeReport {
  std::int64_t modules = 0;  ///< linear layers that changed, and modules trained whole
  std::int64_t files = 0;
  std::uint64_t bytes = 0;
  std::string dtype;              ///< of the merged weights
  bool dequantized = false;       ///< the base was stored in 4 bits (or was to be seen as QLoRA saw it)
  double largest_difference = 0;  ///< between logits of base + adapter and of the merged model, on probe tokens
  double largest_logit = 0;
};

/// W + scale · s · B A in float32, then one rounding, for each adapted weight of config.model_name; modules trained
/// whole are replaced; everything else, and the tokenizer, is copied as it is. Written to config.output, complete or
/// not at all. With train_type qlora the sum is onto the weight as QLoRA training saw it (quantized and dequantized),
/// else onto the original. Throws ModelError (adapter that doesn't fit the base, a vocabulary that differs), FileError
/// (no space, output exists).
MergeReport merge_adapter(const config::Config& config);

}  // namespace lorica::engine
