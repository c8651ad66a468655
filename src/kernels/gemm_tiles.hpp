// The parts of a GemmKernel that are the same for every instruction set, written over its lanes. Internal to kernels/;
// each instruction set's file includes it for itself.
//
// `Ops` derives from lanes (elementwise kernels use the same) and adds: Table(values, scale), the 16 code values ×
// absmax; decode32(bytes, table, out), 32 values from 16 bytes; interleave, as in GemmKernel.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/gemm_impl.hpp"

namespace lorica::kernels {
namespace {

/// `Rows` × (`Vectors` · lanes) of c in registers: a column of a is broadcast against a row of b, k times.
template <class L, int Rows, int Vectors>
void register_tile(std::int64_t k, const float* a, const float* b, float beta, float* c, std::int64_t stride) {
  typename L::Float sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sum[i][v] = L::set(0.0f);
  }
  for (std::int64_t p = 0; p < k; ++p, a += Rows, b += Vectors * L::kWidth) {
    typename L::Float row[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) row[v] = L::load(b + v * L::kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const auto value = L::set(a[i]);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[i][v] = L::multiply_add(value, row[v], sum[i][v]);
    }
  }
  const auto factor = L::set(beta);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i, c += stride) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      float* target = c + v * L::kWidth;
      if (beta != 0.0f) sum[i][v] = L::multiply_add(factor, L::load(target), sum[i][v]);
      L::store(target, sum[i][v]);
    }
  }
}

/// Picks register_tile for 1 … MaxRows rows.
template <class L, int MaxRows, int Vectors>
void any_tile(int rows, std::int64_t k, const float* a, const float* b, float beta, float* c, std::int64_t stride) {
  using Tile = void (*)(std::int64_t, const float*, const float*, float, float*, std::int64_t);
  static constexpr auto kTiles = []<int... Index>(std::integer_sequence<int, Index...>) {
    return std::array<Tile, MaxRows>{register_tile<L, Index + 1, Vectors>...};
  }
  (std::make_integer_sequence<int, MaxRows>());
  kTiles[static_cast<std::size_t>(rows - 1)](k, a, b, beta, c, stride);
}

/// `count` values from element `first` on, none of them beyond the end of their block.
template <class Ops>
[[gnu::always_inline]] inline void decode_in_block(const MatrixSource& m, const float* values, std::int64_t first,
                                                   std::int64_t count, float* out) {
  const auto* bytes = static_cast<const std::uint8_t*>(m.data);
  const float scale = m.absmax[first >> m.block_shift];
  std::int64_t i = 0;
  const auto one = [&] {
    const std::int64_t at = first + i;
    out[i++] = values[at % 2 == 0 ? bytes[at / 2] >> 4 : bytes[at / 2] & 15] * scale;
  };
  if (first % 2 != 0) one();
  if (count - i >= 32) {
    const typename Ops::Table table(values, scale);
    for (; count - i >= 32; i += 32) Ops::decode32(bytes + (first + i) / 2, table, out + i);
  }
  while (i < count) one();
}

template <class Ops>
void read_row(const MatrixSource& m, const float* values, std::int64_t first, std::int64_t count, float* out) {
  if (m.packed()) {
    const std::int64_t block = std::int64_t{1} << m.block_shift;
    while (count > 0) {
      const std::int64_t length = std::min(count, block - (first & (block - 1)));
      decode_in_block<Ops>(m, values, first, length, out);
      first += length, count -= length, out += length;
    }
  } else if (m.type == FloatType::f32) {
    std::memcpy(out, static_cast<const float*>(m.data) + first, static_cast<std::size_t>(count) * sizeof(float));
  } else {
    std::int64_t i = 0;
    if (m.type == FloatType::bf16) {
      const auto* in = static_cast<const std::uint16_t*>(m.data) + first;
      for (; i + Ops::kWidth <= count; i += Ops::kWidth) Ops::store(out + i, Ops::load(in + i));
    }
    for (; i < count; ++i) out[i] = load_float(m.data, m.type, first + i);
  }
}

template <class Ops>
void read_rows(const MatrixSource& m, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
               float* out, std::int64_t out_stride) {
  const float* values = m.packed() ? code4_values(m.code).data() : nullptr;
  const std::int64_t bits = m.packed() ? 4 : 8 * static_cast<std::int64_t>(float_size(m.type));
  for (std::int64_t i = 0; i < rows; ++i) {
    // What stands to the right is read next; rows are too far apart for the hardware to foresee it.
    const auto* next = static_cast<const char*>(m.data) + ((row + i) * m.stride + column + columns) * bits / 8;
    for (std::int64_t at = 0; at < columns * bits / 8; at += 64) __builtin_prefetch(next + at);
    read_row<Ops>(m, values, (row + i) * m.stride + column, columns, out + i * out_stride);
  }
}

inline void interleave_plainly(const float* in, std::int64_t stride, std::int64_t width, std::int64_t count,
                               std::int64_t out_stride, float* out) {
  for (std::int64_t j = 0; j < count; ++j) {
    for (std::int64_t i = 0; i < width; ++i) out[j * out_stride + i] = in[i * stride + j];
  }
}

template <class Ops, int MaxRows, int Vectors>
constexpr GemmKernel gemm_over() {
  return {MaxRows, Vectors * static_cast<int>(Ops::kWidth), any_tile<Ops, MaxRows, Vectors>, read_rows<Ops>,
          Ops::interleave};
}

}  // namespace
}  // namespace lorica::kernels
