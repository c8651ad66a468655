// What the engine is fed: ragged sequences laid end to end. No padding token exists anywhere.
#pragma once

#include <cstdint>
#include <vector>

namespace lorica::data {

inline constexpr std::int32_t kIgnoreLabel = -100;

/// One forward and backward pass. T tokens in S sequences; sequence s is the range [offsets[s], offsets[s+1]).
/// Attention never crosses a sequence.
struct MicroBatch {
  std::vector<std::int32_t> input_ids;  ///< [T]
  std::vector<std::int32_t>
      labels;  ///< [T]; labels[t] is the token that position t must predict (already shifted), or kIgnoreLabel
  std::vector<std::int32_t> positions;  ///< [T]; restart at 0 in every sequence
  std::vector<std::int32_t> offsets;    ///< [S + 1]; offsets[0] = 0, offsets[S] = T
  std::vector<std::int64_t> examples;   ///< [S]; which example of the data set each is (keys dropout's random numbers)

  std::int64_t tokens() const { return static_cast<std::int64_t>(input_ids.size()); }
  std::int64_t sequences() const { return static_cast<std::int64_t>(examples.size()); }
  /// Labels that carry loss.
  std::int64_t supervised() const {
    std::int64_t count = 0;
    for (const auto label : labels) count += label != kIgnoreLabel;
    return count;
  }
};

/// Everything between two optimizer updates. The micro-batches are one rank's; the totals are the whole step's, over
/// all ranks.
struct StepBatch {
  std::vector<MicroBatch> micro_batches;
  std::int64_t tokens = 0;      ///< of all micro-batches of all ranks
  std::int64_t supervised = 0;  ///< labels that carry loss, of all micro-batches of all ranks: the loss's divisor
  std::int64_t examples = 0;    ///< of all micro-batches of all ranks
};

}  // namespace lorica::data
