// A ragged micro-batch as blocks see it, and how it is to be run through them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "model/ops/dropout.hpp"
#include "model/ops/kept.hpp"

namespace lorica::model {

/// cos and sin at each token's position, float32 [T, rotary_dim / 2].
struct RopeTable {
  at::Tensor cosine, sine;
};

/// The sequences of one micro-batch of T tokens. Shared by all blocks of a pass; never changed by them.
struct Batch {
  std::vector<std::int64_t> offsets;  ///< [S + 1]; sequence s is rows [offsets[s], offsets[s+1])
  std::vector<RopeTable> ropes;       ///< as Architecture::ropes counts them

  std::int64_t tokens() const { return offsets.back(); }
  std::int64_t count() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
};

/// Keys and values of the tokens seen so far, of one decoder layer and one sequence (generation only).
struct LayerCache {
  at::Tensor keys, values;  ///< [capacity, kv_heads, head_dim]; rows beyond `length` are unused
  std::int64_t length = 0;
};

/// How to run a batch. Blocks hand it on to operations, adapters and the cache, which look at their part of it.
struct Pass {
  Keeping keeping;
  std::shared_ptr<const DropoutRows> dropout;  ///< null when nothing is dropped (evaluation)
  bool adapters = true;                        ///< false: the base model alone
  std::vector<LayerCache>* cache = nullptr;  ///< generation: one per decoder layer; then there is exactly one sequence

  /// Null: attention sees the batch alone.
  LayerCache* cache_of(std::int64_t layer) const {
    return cache == nullptr ? nullptr : &cache->at(static_cast<std::size_t>(layer));
  }
};

}  // namespace lorica::model
