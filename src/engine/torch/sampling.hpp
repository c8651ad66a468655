// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <span>

#include "engine/engine.hpp"

namespace lorica::engine {

/// Greedy at temperature 0; else draws from softmax(logits / temperature) cut to the top_k most likely and then to the
/// smallest set whose probability reaches top_p (Holtzman et al. 2019). `draw` numbers the random number within
/// options.seed's stream.
std::int32_t sample(std::span<const float> logits, const GenerationOptions& options, std::uint64_t draw);

}  // namespace lorica::engine
