// Products in registers and row copies for attention, written over lanes. Internal to kernels/; each instruction set's
// file includes it for itself.
#pragma once

#include <array>
#include <cstring>
#include <utility>

#include "kernels/attention_impl.hpp"

namespace lorica::kernels {
namespace {

/// c [Rows, Vectors · lanes] = factors[i] · c + a · b, or a · b if `factors` is null. The element (i, p) of a is at
/// a + i · RowStep + p · step: one of the two strides is 1, and the rows' is known when this is compiled, so that one
/// register addresses all of them. Row p of b is at b + p · b_step.
template <class L, int Rows, int Vectors, int RowStep>
void attention_tile(std::int64_t k, const float* a, std::int64_t step, const float* b, std::int64_t b_step,
                    const float* factors, float* c, std::int64_t c_step) {
  typename L::Float sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sum[i][v] = L::set(0.0f);
  }
  for (std::int64_t p = 0; p < k; ++p, a += step, b += b_step) {
    typename L::Float row[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) row[v] = L::load(b + v * L::kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const auto value = L::set(a[i * RowStep]);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[i][v] = L::multiply_add(value, row[v], sum[i][v]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i, c += c_step) {
    const auto factor = L::set(factors ? factors[i] : 0.0f);
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      float* target = c + v * L::kWidth;
      if (factors) sum[i][v] = L::multiply_add(factor, L::load(target), sum[i][v]);
      L::store(target, sum[i][v]);
    }
  }
}

using AttentionTile = void (*)(std::int64_t k, const float* a, std::int64_t step, const float* b, std::int64_t b_step,
                               const float* factors, float* c, std::int64_t c_step);

template <class L, int MaxRows, int Vectors, int RowStep>
constexpr auto attention_tiles() {
  return []<int... Index>(std::integer_sequence<int, Index...>) {
    return std::array<AttentionTile, MaxRows * Vectors>{
        attention_tile<L, Index % MaxRows + 1, Index / MaxRows + 1, RowStep>...};
  }
  (std::make_integer_sequence<int, MaxRows * Vectors>());
}

/// b, a matrix [k, columns] cut into panels of as many columns as a tile has; each panel [k, width] is contiguous. The
/// last one may be narrower. A panel width of 0: not cut, rows `step` apart.
struct Panels {
  const float* data;
  std::int64_t k, step, width;

  const float* at(std::int64_t column) const { return width > 0 ? data + column * k : data + column; }
};

/// The columns [begin, end) of c [rows, columns] = factors · c + a · b, for at most MaxRows rows. begin is where a
/// panel begins, end and columns are whole lanes.
template <class L, int MaxRows, int Vectors, int RowStep>
void multiply_rows(int rows, std::int64_t begin, std::int64_t end, std::int64_t columns, std::int64_t k, const float* a,
                   std::int64_t step, const Panels& b, std::int64_t first_k, const float* factors, float* c,
                   std::int64_t c_step) {
  static constexpr auto kTiles = attention_tiles<L, MaxRows, Vectors, RowStep>();
  constexpr std::int64_t kWide = Vectors * L::kWidth;
  for (std::int64_t column = begin; column < end; column += kWide) {
    const std::int64_t wide = std::min(kWide, end - column);
    const std::int64_t b_step = b.width > 0 ? std::min(b.width, columns - column) : b.step;
    kTiles[static_cast<std::size_t>((wide / L::kWidth - 1) * MaxRows + rows - 1)](
        k, a, step, b.at(column) + first_k * b_step, b_step, factors, c + column, c_step);
  }
}

constexpr std::int64_t rounded_up(std::int64_t a, std::int64_t unit) {
  return (a + unit - 1) / unit * unit;
}

template <class L, class T>
void widen_row(const T* in, std::int64_t count, std::int64_t padded, float* out) {
  std::int64_t i = 0;
  for (; i + L::kWidth <= count; i += L::kWidth) L::store(out + i, L::load(in + i));
  for (; i < count; ++i) {
    if constexpr (sizeof(T) == 2) {
      out[i] = bf16_to_float(in[i]);
    } else {
      out[i] = in[i];
    }
  }
  for (; i < padded; ++i) out[i] = 0.0f;
}

/// Calls body(where row `first` begins), then the same of the next row, and so on for `count` rows: without a division
/// for each.
template <class Pointer, class Body>
[[gnu::always_inline]] inline void for_rows(const HeadRows<Pointer>& rows, std::int64_t first, std::int64_t count,
                                            const Body& body) {
  std::int64_t head = first % rows.group, token_at = first / rows.group * rows.stride;
  for (std::int64_t i = 0; i < count; ++i) {
    body(token_at + head * rows.size);
    if (++head == rows.group) head = 0, token_at += rows.stride;
  }
}

/// Calls body(i, query of row first + i) for `count` rows of `group` heads.
template <class Body>
[[gnu::always_inline]] inline void for_queries(std::int64_t group, std::int64_t first, std::int64_t count,
                                               const Body& body) {
  std::int64_t head = first % group, query = first / group;
  for (std::int64_t i = 0; i < count; ++i) {
    body(i, query);
    if (++head == group) head = 0, ++query;
  }
}

/// The rows [first, first + count) as float32, `step` apart, each filled up with zeros to a whole number of lanes.
template <class L>
void load_rows(const RowsIn& rows, std::int64_t first, std::int64_t count, float* out, std::int64_t step) {
  const std::int64_t padded = rounded_up(rows.size, L::kWidth);
  const auto widen = [&]<class T>(const T* data) {
    for_rows(rows, first, count, [&](std::int64_t at) {
      widen_row<L>(data + at, rows.size, padded, out);
      out += step;
    });
  };
  if (rows.type == FloatType::f32) return widen(static_cast<const float*>(rows.data));
  widen(static_cast<const std::uint16_t*>(rows.data));
}

/// The row at element `at` of `rows` = values · factor, rounded.
template <class L>
void store_row(const RowsOut& rows, std::int64_t at, const float* values, float factor) {
  const std::int64_t whole = rows.size / L::kWidth * L::kWidth;
  const auto scale = L::set(factor);
  for (std::int64_t i = 0; i < whole; i += L::kWidth) {
    const auto x = L::multiply(L::load(values + i), scale);
    if (rows.type == FloatType::f32) {
      L::store(static_cast<float*>(rows.data) + at + i, x);
    } else {
      L::store(static_cast<std::uint16_t*>(rows.data) + at + i, x);
    }
  }
  for (std::int64_t i = whole; i < rows.size; ++i) store_float(rows.data, rows.type, at + i, values[i] * factor);
}

/// The rows [first, first + count) of `rows` (float32) = values, or += values if `add`; values are `step` apart.
template <class L>
void put_rows(const RowsOut& rows, std::int64_t first, std::int64_t count, const float* values, std::int64_t step,
              bool add) {
  for_rows(rows, first, count, [&](std::int64_t at) {
    float* out = static_cast<float*>(rows.data) + at;
    std::int64_t i = 0;
    for (; i + L::kWidth <= rows.size; i += L::kWidth) {
      const auto x = L::load(values + i);
      L::store(out + i, add ? L::add(L::load(out + i), x) : x);
    }
    for (; i < rows.size; ++i) out[i] = add ? out[i] + values[i] : values[i];
    values += step;
  });
}

/// Σ a · b of whole lanes.
template <class L>
float dot(const float* a, const float* b, std::int64_t count) {
  auto sum = L::set(0.0f);
  for (std::int64_t i = 0; i < count; i += L::kWidth) sum = L::multiply_add(L::load(a + i), L::load(b + i), sum);
  return L::sum(sum);
}

}  // namespace
}  // namespace lorica::kernels
