// What an instruction set provides for kernels/attention.hpp. Internal to kernels/. Everything here runs on the calling
// thread.
#pragma once

#include <algorithm>

#include "kernels/attention.hpp"

namespace lorica::kernels {

/// The rows of one key head within [tokens, …, size]: for q and what is like it, row r is head r % group of the token
/// r / group, counted from `data`; for k and v, group is 1.
template <class Pointer>
struct HeadRows {
  Pointer data;
  FloatType type;
  std::int64_t stride, group, size;

  std::int64_t at(std::int64_t row) const { return row / group * stride + row % group * size; }
};
using RowsIn = HeadRows<const void*>;
using RowsOut = HeadRows<void*>;

/// One sequence and one key head.
struct AttentionHead {
  RowsIn q, k, v;
  std::int64_t queries, keys, window;
  float scale;
  float softcap;  ///< 0: none

  std::int64_t position(std::int64_t query) const { return keys - queries + query; }
  /// The keys [first_key, end_key) are what a query sees.
  std::int64_t first_key(std::int64_t query) const {
    return window > 0 ? std::max<std::int64_t>(0, position(query) - window + 1) : 0;
  }
  std::int64_t end_key(std::int64_t query) const { return position(query) + 1; }
};

/// One float for each query and head: element (row) at data + row % group · stride + row / group.
template <class Float>
struct HeadValues {
  Float* data;
  std::int64_t stride, group;

  Float& operator[](std::int64_t row) const { return data[row % group * stride + row / group]; }
};

/// What backward reads besides, and where its sums go: float32.
struct AttentionGradients {
  RowsIn out, dout;
  HeadValues<const float> lse;
  HeadValues<float> products;  ///< Σ out · dout
  RowsOut dq, dk, dv;
};

constexpr std::int64_t kAttentionKeys = 128;  ///< keys of one block, at most
constexpr std::int64_t kAttentionRows = 112;  ///< rows that backward works on at a time

struct AttentionKernel {
  /// Floats of scratch that forward needs for `rows` rows (queries × group).
  std::int64_t (*forward_scratch)(std::int64_t rows, std::int64_t size);
  /// `count` queries from `first` on. scratch is aligned to 64 bytes.
  void (*forward)(const AttentionHead& head, std::int64_t first, std::int64_t count, const RowsOut& out,
                  const HeadValues<float>& lse, float* scratch);

  std::int64_t (*backward_scratch)(std::int64_t size);
  /// The part of the gradients that the queries [first, end) and the keys [first_key, end_key) share; no more than
  /// kAttentionKeys of them. If the keys begin where the queries do, it is the first part of both: the gradients are
  /// written and the products made. Otherwise the gradients are added to and the products are there.
  void (*backward)(const AttentionHead& head, const AttentionGradients& gradients, std::int64_t first, std::int64_t end,
                   std::int64_t first_key, std::int64_t end_key, float* scratch);

  /// Rounds the rows [first, end) of `in` (float32) to those of `out` (bfloat16).
  void (*round)(const RowsIn& in, std::int64_t first, std::int64_t end, const RowsOut& out);
};

extern const AttentionKernel kAttentionReference, kAttentionAvx2, kAttentionAvx512;

}  // namespace lorica::kernels
