// What the model will see: a few examples token by token, with the tokens that carry loss marked.
#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.hpp"
#include "data/micro_batch.hpp"
#include "data/text_encoder.hpp"

namespace lorica::data {

/// The first `examples` of the data set. In colour, tokens that carry loss are green, the others grey, in two shades so
/// that tokens can be told apart; without, tokens are separated by "|" and those that carry loss stand in ⟦ ⟧. Control
/// characters of the data are shown, never sent to the terminal. Long examples are shown by their ends.
std::string render_preview(const TokenizedDataset& dataset, const TextEncoder& encoder, int examples, bool color);

/// A micro-batch: the same, sequence by sequence, with the place of each in the batch: where examples are packed.
std::string render_micro_batch(const MicroBatch& batch, const TextEncoder& encoder, bool color);

}  // namespace lorica::data
