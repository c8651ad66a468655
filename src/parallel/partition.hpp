// Which blocks of a model each stage of a pipeline runs. Free of Torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lorica::parallel {

/// One block of a model, as far as dealing it out goes.
struct BlockFacts {
  enum class Kind { embedding, decoder_layer, head };
  Kind kind = Kind::decoder_layer;
  std::int64_t trained = 0;  ///< elements of its parameters that the optimizer updates
};

/// Blocks [begin, end) that one stage runs one after the other.
struct BlockRun {
  std::size_t begin = 0, end = 0;
  bool operator==(const BlockRun&) const = default;
};

/// Deals `blocks` (an embedding, decoder layers, a head) to stages · interleave parts, each at least one block; part p
/// is chunk p ÷ stages of stage p mod stages. Result: by stage, then chunk.
///
/// `method` is qlora-pipe-lite's, upper or lower case:
///   uniform     as many layers each; where that doesn't come out even, the first ones have one more
///   parameters  by trained elements
///   type:REGEX  by the number of layers whose class name the expression finds (upper or lower case, anywhere)
/// The last two make the difference of the heaviest and the lightest part small; of equal cuts the latest is taken.
///
/// Layers are what qlora-pipe-lite counts, so that its configurations give the same cuts: the embedding is two of them
/// (PrepareInputsPipe, EmbeddingPipe), a decoder layer one (DecoderLayerPipe), the head three (NormPipe, LmHeadPipe,
/// LossPipe). A cut within a block is moved to its beginning; cuts that then coincide are moved apart. Our own names
/// ("embedding", "decoderlayer", "head") are found as well.
///
/// Throws ConfigError naming the option: an unknown method, a bad expression, one that finds nothing, too many parts.
std::vector<std::vector<BlockRun>> partition(const std::vector<BlockFacts>& blocks, const std::string& method,
                                             int stages, int interleave);

}  // namespace lorica::parallel
