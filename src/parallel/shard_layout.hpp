// Where the shards of several tensors lie in flat buffers: each tensor is cut by units (rows, or quantization blocks),
// and all tensors of a group travel in one collective. Pure arithmetic, free of Torch.
#pragma once

#include <cstdint>
#include <vector>

namespace lorica::parallel {

/// A tensor as it is cut: `units` units of `unit_bytes` each; the last one may be shorter, so that all make `bytes`.
struct SplitTensor {
  std::int64_t units = 0, unit_bytes = 0, bytes = 0;
};

/// [begin, begin + count).
struct Range {
  std::int64_t begin = 0, count = 0;
  bool operator==(const Range&) const = default;
};

/// All shards of a tensor have ⌈U/N⌉ units but for the last ones, which have what is left (as FSDP2 cuts).
Range unit_range(std::int64_t units, int shard, int shards);

/// A chunk is what one shard holds of all tensors, one after the other, each at the same place in every chunk; all
/// chunks are equally long. The whole buffer holds the tensors themselves, one after the other. The chunks of a single
/// tensor, one after the other, are the whole.
class ShardLayout {
 public:
  ShardLayout() = default;
  ShardLayout(std::vector<SplitTensor> tensors, int shards);

  int shards() const { return shards_; }
  std::size_t tensors() const { return tensors_.size(); }
  std::int64_t chunk_bytes() const { return chunk_bytes_; }  ///< of several tensors: a multiple of 64
  std::int64_t whole_bytes() const { return whole_bytes_; }  ///< a multiple of 64
  /// Bytes of one buffer that can serve as either: the whole, or all chunks.
  std::int64_t buffer_bytes() const;
  std::int64_t chunk_offset(std::size_t tensor) const { return places_[tensor].chunk; }
  std::int64_t whole_offset(std::size_t tensor) const { return places_[tensor].whole; }
  /// Bytes of `tensor` that `shard` holds.
  Range slice(std::size_t tensor, int shard) const;

  /// All chunks, one after the other, are the whole already.
  bool contiguous() const { return tensors_.size() == 1; }
  /// whole = the tensors put together from all chunks (chunk r begins at r · chunk_bytes). In parallel.
  void assemble(std::uint8_t* whole, const std::uint8_t* chunks) const;
  /// One tensor's slice into one shard's chunk.
  void cut_tensor(std::uint8_t* chunk, const std::uint8_t* data, std::size_t tensor, int shard) const;

 private:
  struct Place {
    std::int64_t chunk = 0, whole = 0;
  };
  std::vector<SplitTensor> tensors_;
  std::vector<Place> places_;
  int shards_ = 1;
  std::int64_t chunk_bytes_ = 0, whole_bytes_ = 0;
};

}  // namespace lorica::parallel
