#include "parallel/shard_layout.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "base/parallel.hpp"

namespace lorica::parallel {
namespace {

constexpr std::int64_t kAlignment = 16;  // of a tensor within a chunk: any dtype's, and vector loads are cheap
constexpr std::int64_t kChunkAlignment = 64;

std::int64_t align(std::int64_t bytes, std::int64_t to) {
  return (bytes + to - 1) / to * to;
}

/// One stretch of bytes to copy.
struct Copy {
  std::uint8_t* to;
  const std::uint8_t* from;
  std::int64_t bytes;
};

void run(const std::vector<Copy>& copies) {
  parallel_for(static_cast<std::int64_t>(copies.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i) {
      const auto& copy = copies[static_cast<std::size_t>(i)];
      if (copy.bytes > 0) std::memcpy(copy.to, copy.from, static_cast<std::size_t>(copy.bytes));
    }
  });
}

}  // namespace

Range unit_range(std::int64_t units, int shard, int shards) {
  const auto longest = (units + shards - 1) / shards;
  const auto begin = std::min(units, shard * longest), end = std::min(units, begin + longest);
  return {begin, end - begin};
}

ShardLayout::ShardLayout(std::vector<SplitTensor> tensors, int shards) : tensors_(std::move(tensors)), shards_(shards) {
  ensure(shards >= 1, "{} shards", shards);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    places_.push_back({chunk_bytes_, whole_bytes_});
    std::int64_t longest = 0;
    for (int r = 0; r < shards; ++r) longest = std::max(longest, slice(i, r).count);
    chunk_bytes_ += tensors_.size() == 1 ? longest : align(longest, kAlignment);
    whole_bytes_ += align(tensors_[i].bytes, kChunkAlignment);
  }
  if (tensors_.size() > 1) chunk_bytes_ = align(chunk_bytes_, kChunkAlignment);
}

std::int64_t ShardLayout::buffer_bytes() const {
  return std::max(whole_bytes_, chunk_bytes_ * shards_);
}

Range ShardLayout::slice(std::size_t tensor, int shard) const {
  const auto& split = tensors_[tensor];
  const auto units = unit_range(split.units, shard, shards_);
  const auto begin = std::min(units.begin * split.unit_bytes, split.bytes);
  const auto end = std::min((units.begin + units.count) * split.unit_bytes, split.bytes);
  return {begin, end - begin};
}

void ShardLayout::assemble(std::uint8_t* whole, const std::uint8_t* chunks) const {
  std::vector<Copy> copies;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    for (int r = 0; r < shards_; ++r) {
      const auto part = slice(i, r);
      copies.push_back({whole + whole_offset(i) + part.begin, chunks + r * chunk_bytes_ + chunk_offset(i), part.count});
    }
  }
  run(copies);
}

void ShardLayout::cut_tensor(std::uint8_t* chunk, const std::uint8_t* data, std::size_t tensor, int shard) const {
  const auto part = slice(tensor, shard);
  if (part.count > 0) {
    std::memcpy(chunk + chunk_offset(tensor), data + part.begin, static_cast<std::size_t>(part.count));
  }
}

}  // namespace lorica::parallel
