// What flows through the blocks: a ragged batch of hidden states, and the facts about its sequences that every block
// may need.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "model/ops/dropout.hpp"

namespace lorica::model {

/// Keys and values of the tokens seen so far, of one decoder layer and one sequence (generation only).
struct LayerCache {
  at::Tensor keys, values;  ///< [capacity, kv_heads, head_dim]; rows beyond `length` are unused
  std::int64_t length = 0;
};

/// The sequences of one micro-batch of T tokens. Shared by all blocks of a pass; never changed by them.
struct Sequences {
  std::vector<std::int64_t> offsets;           ///< [S + 1]; sequence s is rows [offsets[s], offsets[s+1])
  at::Tensor cosine, sine;                     ///< float32 [T, rotary_dim / 2]: rotary tables at each token's position
  std::shared_ptr<const DropoutRows> dropout;  ///< null when nothing is dropped (evaluation)
  bool selective = false;  ///< cheap operations keep no output: backward recomputes it (config::Recompute::selective)
  bool narrow = false;     ///< the widest tensors that backward needs are held in bfloat16 (ExecutorOptions::narrow)
  std::vector<LayerCache>* cache = nullptr;  ///< generation: one per decoder layer; then there is exactly one sequence

  std::int64_t tokens() const { return offsets.back(); }
  std::int64_t count() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
};

struct Activation {
  at::Tensor hidden;  ///< [T, hidden_size], compute dtype
  std::shared_ptr<const Sequences> sequences;
};

}  // namespace lorica::model
