// Cutting tensors into chunks and putting them together again.
#include "parallel/shard_layout.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace lorica::parallel {
namespace {

SplitTensor rows(std::int64_t count, std::int64_t bytes) {
  return {count, bytes, count * bytes};
}

TEST(UnitRange, CoversEverythingOnceAndInOrder) {
  for (const std::int64_t units : {0, 1, 2, 5, 7, 64, 151936}) {
    for (const int shards : {1, 2, 3, 4, 8}) {
      std::int64_t next = 0;
      for (int r = 0; r < shards; ++r) {
        const auto range = unit_range(units, r, shards);
        EXPECT_EQ(range.begin, next);
        EXPECT_LE(range.count, (units + shards - 1) / shards);
        next += range.count;
      }
      EXPECT_EQ(next, units);
    }
  }
}

/// Tensors of distinct bytes, laid out as the whole buffer has them.
std::vector<std::uint8_t> whole_of(const ShardLayout& layout, const std::vector<SplitTensor>& tensors) {
  std::vector<std::uint8_t> whole(static_cast<std::size_t>(layout.whole_bytes()), 0);
  std::uint8_t value = 1;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    for (std::int64_t b = 0; b < tensors[i].bytes; ++b) {
      whole[static_cast<std::size_t>(layout.whole_offset(i) + b)] = value++;
    }
  }
  return whole;
}

/// All chunks, one after the other, cut tensor by tensor.
std::vector<std::uint8_t> chunks_of(const ShardLayout& layout, const std::vector<std::uint8_t>& whole) {
  std::vector<std::uint8_t> chunks(static_cast<std::size_t>(layout.buffer_bytes()), 0);
  for (int r = 0; r < layout.shards(); ++r) {
    for (std::size_t i = 0; i < layout.tensors(); ++i) {
      layout.cut_tensor(chunks.data() + r * layout.chunk_bytes(), whole.data() + layout.whole_offset(i), i, r);
    }
  }
  return chunks;
}

TEST(ShardLayout, WhatIsCutIsPutTogetherAgain) {
  // Uneven rows, a tensor smaller than the number of shards, a last unit that is short (a partial quantization block),
  // and one without any rows.
  const std::vector<SplitTensor> tensors{rows(7, 12), rows(2, 3), {5, 32, 4 * 32 + 9}, rows(0, 8), rows(64, 4)};
  for (const int shards : {1, 2, 3, 4, 8}) {
    const ShardLayout layout(tensors, shards);
    const auto whole = whole_of(layout, tensors);
    const auto chunks = chunks_of(layout, whole);
    std::vector<std::uint8_t> again(whole.size(), 0);
    layout.assemble(again.data(), chunks.data());
    EXPECT_EQ(again, whole) << shards;
    EXPECT_EQ(layout.chunk_bytes() % 64, 0);
    // A shard's slice lies at the same place in every chunk.
    for (int r = 0; r < shards; ++r) {
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto part = layout.slice(i, r);
        const auto in_whole = whole.begin() + layout.whole_offset(i) + part.begin;
        EXPECT_TRUE(std::equal(in_whole, in_whole + part.count,
                               chunks.begin() + r * layout.chunk_bytes() + layout.chunk_offset(i)))
            << "tensor " << i << ", shard " << r << " of " << shards;
      }
    }
  }
}

TEST(ShardLayout, ASingleTensorsChunksAreTheWhole) {
  for (const std::int64_t count : {8, 9, 151}) {
    const ShardLayout layout({rows(count, 20)}, 4);
    ASSERT_TRUE(layout.contiguous());
    const auto whole = whole_of(layout, {rows(count, 20)});
    const auto chunks = chunks_of(layout, whole);
    EXPECT_TRUE(std::equal(whole.begin(), whole.begin() + count * 20, chunks.begin()));
  }
  EXPECT_FALSE(ShardLayout({rows(4, 4), rows(4, 4)}, 2).contiguous());
}

TEST(ShardLayout, PaddingIsSmall) {
  // A decoder layer of 896 by 4,864 in NF4: data and absmax.
  std::vector<SplitTensor> tensors;
  std::int64_t bytes = 0;
  for (int i = 0; i < 7; ++i) {
    const std::int64_t blocks = 896 * 4864 / 64 + i;
    tensors.push_back({blocks, 32, blocks * 32});
    tensors.push_back({blocks, 1, blocks});
    bytes += blocks * 33;
  }
  for (const int shards : {2, 3, 4}) {
    EXPECT_LT(static_cast<double>(ShardLayout(tensors, shards).chunk_bytes() * shards),
              1.001 * static_cast<double>(bytes));
  }
}

}  // namespace
}  // namespace lorica::parallel
