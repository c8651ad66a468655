// The parts of a GemmKernel that are the same for every instruction set, written over its lanes. Internal to kernels/;
// each instruction set's file includes it for itself.
// `Ops`: gemm_packing.hpp.
#pragma once

#include <array>
#include <utility>

#include "kernels/gemm_packing.hpp"

namespace lorica::kernels {
namespace {

/// `Rows` × (`Vectors` · lanes) of c in registers: a column of a is broadcast against a row of b, k times.
template <class L, int Rows, int Vectors, class B>
void register_tile(std::int64_t k, const float* a, const B* b, std::int64_t b_stride, float beta, float* c,
                   std::int64_t stride, Lines& lines) {
  typename L::Float sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sum[i][v] = L::set(0.0f);
  }
  Lines asked = lines;  // in registers
  for (; k > 0; --k, a += Rows, b += b_stride) {
    if (k % 2 == 0) asked.ask();
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
  lines = asked;
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
void any_tile(int rows, std::int64_t k, const float* a, const Columns& b, float beta, float* c, std::int64_t stride,
              Lines& lines) {
  const auto run = [&]<class B>(const B* data) {
    using Tile = void (*)(std::int64_t, const float*, const B*, std::int64_t, float, float*, std::int64_t, Lines&);
    static constexpr auto kTiles = []<int... Index>(std::integer_sequence<int, Index...>) {
      return std::array<Tile, MaxRows>{register_tile<L, Index + 1, Vectors, B>...};
    }
    (std::make_integer_sequence<int, MaxRows>());
    kTiles[static_cast<std::size_t>(rows - 1)](k, a, data, b.stride, beta, c, stride, lines);
  };
  if (b.type == FloatType::bf16) return run(static_cast<const std::uint16_t*>(b.data));
  run(static_cast<const float*>(b.data));
}

template <class Ops, int MaxRows, int Vectors>
constexpr GemmKernel gemm_over() {
  return {MaxRows,        Vectors * static_cast<int>(Ops::kWidth), any_tile<Ops, MaxRows, Vectors>, turn<Ops>, cut<Ops>,
          interleave<Ops>};
}

}  // namespace
}  // namespace lorica::kernels
