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
void register_tile(std::int64_t k, const float* a, const B* b, std::int64_t b_stride, float alpha, float beta, float* c,
                   std::int64_t stride, Lines& lines) {
  typename L::Float sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sum[i][v] = L::set(0.0f);
  }
  Lines asked = lines;  // in registers
  while (k > 0) {
    asked.ask();
    for (const std::int64_t next = k - std::min<std::int64_t>(k, 4); k > next; --k, a += Rows, b += b_stride) {
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
  }
  lines = asked;
  const auto factor = L::set(beta), scale = L::set(alpha);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i, c += stride) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      float* target = c + v * L::kWidth;
      if (alpha != 1.0f) sum[i][v] = L::multiply(scale, sum[i][v]);
      if (beta != 0.0f) sum[i][v] = L::multiply_add(factor, L::load(target), sum[i][v]);
      L::store(target, sum[i][v]);
    }
  }
}

/// Picks register_tile for 1 … MaxRows rows and 1 … Vectors times the lanes.
template <class L, int MaxRows, int Vectors>
void any_tile(int rows, int columns, std::int64_t k, const float* a, const Columns& b, float alpha, float beta,
              float* c, std::int64_t stride, Lines& lines) {
  const auto run = [&]<class B>(const B* data) {
    using Tile =
        void (*)(std::int64_t, const float*, const B*, std::int64_t, float, float, float*, std::int64_t, Lines&);
    static constexpr auto kTiles = []<int... Index>(std::integer_sequence<int, Index...>) {
      return std::array<Tile, MaxRows * Vectors>{register_tile<L, Index % MaxRows + 1, Index / MaxRows + 1, B>...};
    }
    (std::make_integer_sequence<int, MaxRows * Vectors>());
    const int vectors = columns / static_cast<int>(L::kWidth);
    kTiles[static_cast<std::size_t>((vectors - 1) * MaxRows + rows - 1)](k, a, data, b.stride, alpha, beta, c, stride,
                                                                         lines);
  };
  if (b.type == FloatType::bf16) return run(static_cast<const std::uint16_t*>(b.data));
  run(static_cast<const float*>(b.data));
}

template <class Ops, int MaxRows, int Vectors>
constexpr GemmKernel gemm_over() {
  constexpr int kLanes = static_cast<int>(Ops::kWidth);
  return {MaxRows, Vectors * kLanes, kLanes, any_tile<Ops, MaxRows, Vectors>, turn<Ops>, cut<Ops>, interleave<Ops>};
}

}  // namespace
}  // namespace lorica::kernels
