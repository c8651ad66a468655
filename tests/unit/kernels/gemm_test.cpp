// Matrix product: every instruction set, operand kind and layout against sums in float64; sizes around every cut that
// the blocking makes; parts of a product equal the whole bit for bit.
#include "kernels/gemm.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "kernels/modes.hpp"
#include "kernels/rowwise_8bit.hpp"

namespace lorica::kernels {
namespace {

enum class Storage { f32, bf16, f16, nf4, fp4, int8 };

std::vector<float> normal(std::int64_t count, std::uint64_t seed) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(random_normal(random_key({seed, 23}), i));
  }
  return values;
}

/// A stored matrix, and the float values that it stands for.
struct Stored {
  std::int64_t rows, columns;
  std::vector<std::byte> bytes;
  std::vector<float> absmax;
  std::vector<float> values;  // [rows, columns]
  MatrixSource source;

  /// `padding`: elements between stored rows (not of codes).
  Stored(Storage storage, std::int64_t rows, std::int64_t columns, std::uint64_t seed, std::int64_t padding = 0,
         std::int64_t block_size = 64)
      : rows(rows), columns(columns), values(normal(rows * columns, seed)) {
    if (storage == Storage::nf4 || storage == Storage::fp4) {
      const auto code = storage == Storage::nf4 ? Code4::nf4 : Code4::fp4;
      const std::int64_t n = rows * columns;
      bytes.resize(static_cast<std::size_t>(packed_bytes(n)));
      absmax.resize(static_cast<std::size_t>(block_count(n, block_size)));
      auto* codes = reinterpret_cast<std::uint8_t*>(bytes.data());
      quantize_4bit(code, values.data(), FloatType::f32, n, block_size, codes, absmax.data());
      dequantize_4bit(code, codes, absmax.data(), n, block_size, FloatType::f32, values.data());
      source = packed_matrix(code, codes, absmax.data(), block_size, rows, columns);
      return;
    }
    if (storage == Storage::int8) {
      bytes.resize(static_cast<std::size_t>(rows * columns));
      absmax.resize(static_cast<std::size_t>(rows));
      auto* codes = reinterpret_cast<std::int8_t*>(bytes.data());
      quantize_rows_8bit(values.data(), FloatType::f32, rows, columns, codes, absmax.data());
      for (auto& scale : absmax) scale = row_scale_8bit(scale);
      dequantize_rows_8bit(codes, absmax.data(), rows, columns, FloatType::f32, values.data());
      source = byte_matrix(codes, absmax.data(), rows, columns);
      return;
    }
    const auto type = storage == Storage::f32    ? FloatType::f32
                      : storage == Storage::bf16 ? FloatType::bf16
                                                 : FloatType::f16;
    const std::int64_t stride = columns + padding;
    bytes.resize(static_cast<std::size_t>(rows * stride) * float_size(type));
    // What lies between the rows must not be used.
    for (std::int64_t i = 0; i < rows * stride; ++i) store_float(bytes.data(), type, i, std::nanf(""));
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const std::int64_t at = i / columns * stride + i % columns;
      store_float(bytes.data(), type, at, values[static_cast<std::size_t>(i)]);
      values[static_cast<std::size_t>(i)] = load_float(bytes.data(), type, at);
    }
    source = dense_matrix(bytes.data(), type, rows, columns, stride);
  }
  Stored(const Stored&) = delete;

  double at(std::int64_t row, std::int64_t column, bool turned) const {
    const std::int64_t index = turned ? column * columns + row : row * columns + column;
    return values[static_cast<std::size_t>(index)];
  }
};

/// c and the gaps between its rows; the gaps must stay as they are.
struct Target {
  std::int64_t m, n, stride;
  std::vector<float> values;
  Target(std::int64_t m, std::int64_t n, std::int64_t gap)
      : m(m), n(n), stride(n + gap), values(normal(m * (n + gap), 99)) {}
};

void expect_product(const Stored& a, bool turn_a, const Stored& b, bool turn_b, float beta, std::int64_t gap = 0) {
  const std::int64_t m = turn_a ? a.columns : a.rows, k = turn_a ? a.rows : a.columns;
  const std::int64_t n = turn_b ? b.rows : b.columns;
  Target c(m, n, gap);
  const auto before = c.values;
  if (beta == 0.0f) std::fill(c.values.begin(), c.values.end(), std::numeric_limits<float>::quiet_NaN());
  gemm(turn_a ? transposed(a.source) : a.source, turn_b ? transposed(b.source) : b.source, beta, c.values.data(),
       c.stride);
  // Vary the element that is looked at if there are too many to look at all.
  const std::int64_t step = m * n * k > (std::int64_t{1} << 24) ? 37 : 1;
  for (std::int64_t i = 0; i < m * n; i += step) {
    const std::int64_t row = i / n, column = i % n, index = row * c.stride + column;
    double sum = 0, magnitude = 0;
    for (std::int64_t p = 0; p < k; ++p) {
      const double term = a.at(row, p, turn_a) * b.at(p, column, turn_b);
      sum += term, magnitude += std::fabs(term);
    }
    if (beta != 0.0f) {
      const double old = static_cast<double>(beta) * before[static_cast<std::size_t>(index)];
      sum += old, magnitude += std::fabs(old);
    }
    // Each of k products and sums rounds by at most 2⁻²⁴ of what has been summed; in practice they average out, so
    // that 4 · sqrt(k) of them are already generous.
    const double tolerance = (4 * std::sqrt(static_cast<double>(k)) + 4) * 0x1p-24 * magnitude;
    ASSERT_NEAR(sum, c.values[static_cast<std::size_t>(index)], tolerance) << "c[" << row << ", " << column << "]";
  }
  for (std::int64_t i = 0; i < m * c.stride && beta != 0.0f; ++i) {
    if (i % c.stride >= n) {
      ASSERT_EQ(before[static_cast<std::size_t>(i)], c.values[static_cast<std::size_t>(i)]);
    }
  }
}

struct Sizes {
  std::int64_t m, n, k;
};

TEST(Gemm, SizesAroundEveryCut) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const auto& [m, n, k] : std::vector<Sizes>{{1, 1, 1},
                                                    {1, 33, 70},
                                                    {6, 16, 32},
                                                    {14, 32, 64},
                                                    {13, 31, 63},
                                                    {15, 33, 65},
                                                    {29, 130, 257},
                                                    {7, 64, 1100},
                                                    {3, 200, 96}}) {
      for (const bool turn_a : {false, true}) {
        for (const bool turn_b : {false, true}) {
          for (const float beta : {0.0f, 1.0f, -0.5f}) {
            SCOPED_TRACE(fmt::format("{}: {} × {} × {}, turned {} {}, beta {}", instruction_set_name(instruction_set()),
                                     m, n, k, turn_a, turn_b, beta));
            const Stored a(Storage::f32, turn_a ? k : m, turn_a ? m : k, 1, 3);
            const Stored b(Storage::f32, turn_b ? n : k, turn_b ? k : n, 2, 5);
            expect_product(a, turn_a, b, turn_b, beta, 4);
          }
        }
      }
    }
  }
}

TEST(Gemm, StorageKinds) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const auto storage : {Storage::bf16, Storage::f16, Storage::nf4, Storage::fp4, Storage::int8}) {
      // Rows that are whole blocks, that are whole bytes but break blocks, that break bytes.
      for (const std::int64_t columns : {128, 192, 100, 33}) {
        for (const std::int64_t block_size : {32, 64, 256}) {
          SCOPED_TRACE(fmt::format("{}: storage {}, {} columns, blocks of {}", instruction_set_name(instruction_set()),
                                   static_cast<int>(storage), columns, block_size));
          const Stored weight(storage, 71, columns, 3, 0, block_size);
          const Stored x(Storage::f32, 17, columns, 4), dy(Storage::bf16, 17, 71, 5, 1);
          expect_product(x, false, weight, true, 0);    // y = x Wᵀ
          expect_product(dy, false, weight, false, 1);  // dx = dy W
          expect_product(weight, true, weight, false, 0);
          expect_product(weight, false, weight, true, 0);
        }
      }
    }
  }
}

TEST(Gemm, LargerThanTheCaches) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    SCOPED_TRACE(instruction_set_name(instruction_set()));
    // 1,600 × 2,100 floats are more than is packed at once, in k; 12,900 rows more than is packed in m.
    expect_product(Stored(Storage::f32, 1600, 2100, 6), false, Stored(Storage::nf4, 5, 2100, 7), true, 0.5f);
    if (mode != KernelMode::reference) {
      expect_product(Stored(Storage::f32, 50000, 70, 6), false, Stored(Storage::bf16, 70, 40, 7), false, 0);
    }
  }
}

/// What rows or columns are asked for beside an element, and so how work is dealt out, must not change its bits.
TEST(Gemm, PartsEqualTheWhole) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    const std::int64_t m = 90, n = 300, k = 640;
    const auto x = normal(m * k, 8), w = normal(n * k, 9);
    std::vector<float> whole(static_cast<std::size_t>(m * n)), part(whole.size());
    const auto matrix = [&](const std::vector<float>& from, std::int64_t row, std::int64_t rows) {
      return dense_matrix(from.data() + row * k, FloatType::f32, rows, k, k);
    };
    gemm(matrix(x, 0, m), transposed(matrix(w, 0, n)), 0, whole.data(), n);
    for (std::int64_t row = 0; row < m; row += 31) {
      for (std::int64_t column = 0; column < n; column += 47) {
        gemm(matrix(x, row, std::min<std::int64_t>(31, m - row)),
             transposed(matrix(w, column, std::min<std::int64_t>(47, n - column))), 0, part.data() + row * n + column,
             n);
      }
    }
    ASSERT_EQ(whole, part) << instruction_set_name(instruction_set());
  }
}

/// c_j = Σ_i a_i · b_ij + beta_j · c_j + bias_j with blocks that are zero, of every kind, against the single products.
TEST(Gemm, ProductsOfBlocks) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    SCOPED_TRACE(instruction_set_name(instruction_set()));
    const std::int64_t m = 61;
    const std::vector<std::int64_t> depths = {300, 16, 1}, widths = {128, 7, 48};
    std::vector<std::unique_ptr<Stored>> a, b;
    BlockProduct product;
    for (std::size_t i = 0; i < depths.size(); ++i) {
      a.push_back(std::make_unique<Stored>(Storage::f32, m, depths[i], i));
      product.a.push_back(a.back()->source);
    }
    std::vector<std::vector<float>> found, expected;
    const auto bias = normal(widths[2], 77);  // of the last column
    for (std::size_t j = 0; j < widths.size(); ++j) {
      const float beta = j == 1 ? 0.5f : 0.0f;
      found.push_back(beta != 0 ? normal(m * widths[j], 50 + j)
                                : std::vector<float>(static_cast<std::size_t>(m * widths[j]), std::nanf("")));
      expected.push_back(found.back());
      BlockProduct::Column column{{}, found.back().data(), widths[j], beta, j == 2 ? bias.data() : nullptr};
      float next = beta;
      if (j == 2) {
        for (std::int64_t i = 0; i < m; ++i) std::copy(bias.begin(), bias.end(), expected[j].begin() + i * widths[j]);
        next = 1;
      }
      for (std::size_t i = 0; i < depths.size(); ++i) {
        if ((j == 0 && i == 1) || (j == 2 && i != 1)) {  // column 2 begins with the second operand
          column.b.emplace_back();
          continue;
        }
        b.push_back(std::make_unique<Stored>(i == 0 ? Storage::nf4 : Storage::bf16, widths[j], depths[i], 10 * j + i));
        column.b.push_back(transposed(b.back()->source));
        gemm(product.a[i], column.b.back(), next, expected[j].data(), widths[j]);
        next = 1;
      }
      product.columns.push_back(std::move(column));
    }
    gemm(product);
    for (std::size_t j = 0; j < widths.size(); ++j) EXPECT_EQ(expected[j], found[j]) << "column " << j;
  }
}

/// y_j = x W_jᵀ + u_j B_jᵀ with u_j = s_j · x A_jᵀ in one product, against the same in two: few rows and so many that
/// they are packed in parts, k in one slice and in several, ranks around the lanes.
TEST(Gemm, ColumnsThatFeedAnOperand) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const auto& [m, k] : std::vector<std::pair<std::int64_t, std::int64_t>>{{19, 70}, {900, 960}, {40, 2100}}) {
      if (mode == KernelMode::reference && m * k > 100000) continue;
      SCOPED_TRACE(fmt::format("{}: {} × {}", instruction_set_name(instruction_set()), m, k));
      const std::vector<std::int64_t> ranks = {16, 5, 40}, widths = {96, 33, 200};
      const Stored x(Storage::f32, m, k, 1, 3);
      std::vector<std::unique_ptr<Stored>> kept;
      const auto stored = [&](Storage storage, std::int64_t rows, std::int64_t columns) -> const MatrixSource& {
        return kept.emplace_back(std::make_unique<Stored>(storage, rows, columns, kept.size()))->source;
      };
      const auto fresh = [&](std::int64_t n) {
        return std::vector<float>(static_cast<std::size_t>(m * n), std::nanf(""));
      };
      std::vector<std::vector<float>> u, y, expected_u, expected_y;
      BlockProduct product{{x.source}, {}, 1};
      for (std::size_t j = 0; j < ranks.size(); ++j) {
        const float scale = 0.5f + static_cast<float>(j);
        const auto a = transposed(stored(Storage::f32, ranks[j], k)),
                   w = transposed(stored(Storage::nf4, widths[j], k));
        const auto b = transposed(stored(Storage::bf16, widths[j], ranks[j]));
        u.push_back(fresh(ranks[j])), y.push_back(fresh(widths[j]));
        expected_u.push_back(u.back()), expected_y.push_back(y.back());
        gemm(BlockProduct{{x.source}, {{.b = {a}, .c = expected_u[j].data(), .stride = ranks[j], .alpha = scale}}});
        const auto read = dense_matrix(expected_u[j].data(), FloatType::f32, m, ranks[j], ranks[j]);
        gemm(BlockProduct{{x.source, read}, {{.b = {w, b}, .c = expected_y[j].data(), .stride = widths[j]}}});
        product.a.push_back(dense_matrix(u[j].data(), FloatType::f32, m, ranks[j], ranks[j]));
        std::vector<MatrixSource> blocks(j + 2);
        blocks[0] = w, blocks[j + 1] = b;
        product.columns.push_back({.b = std::move(blocks), .c = y[j].data(), .stride = widths[j]});
        product.columns.push_back({.b = {a}, .c = u[j].data(), .stride = ranks[j], .alpha = scale, .feeds = true});
      }
      for (auto& column : product.columns) column.b.resize(product.a.size());
      gemm(product);
      for (std::size_t j = 0; j < ranks.size(); ++j) {
        EXPECT_EQ(expected_u[j], u[j]) << "column " << j;
        EXPECT_EQ(expected_y[j], y[j]) << "column " << j;
      }
    }
  }
}

/// Rows as far apart as a power of two, and matrices that are a panel as they are: read where they lie, or not.
TEST(Gemm, FewRowsByManyColumns) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    SCOPED_TRACE(instruction_set_name(instruction_set()));
    for (const auto storage : {Storage::f32, Storage::bf16}) {
      for (const std::int64_t columns : {16, 64, 1024, 1030}) {
        const Stored b(storage, 300, columns, 3);
        expect_product(Stored(Storage::f32, 300, 16, 4), true, b, false, 0);
        expect_product(Stored(Storage::f32, 20, 300, 5), false, b, false, 1);
      }
    }
  }
}

TEST(Gemm, NothingToSum) {
  std::vector<float> c = {1, 2, 3, 4};
  const auto none = dense_matrix(nullptr, FloatType::f32, 2, 0, 0);
  gemm(none, transposed(none), 0.5f, c.data(), 2);
  EXPECT_EQ((std::vector<float>{0.5, 1, 1.5, 2}), c);
  gemm(none, transposed(none), 0.0f, c.data(), 2);
  EXPECT_EQ(std::vector<float>(4), c);
  const std::vector<float> bias = {7, 8};
  gemm(BlockProduct{{none}, {{{transposed(none)}, c.data(), 2, 0, bias.data()}}});
  EXPECT_EQ((std::vector<float>{7, 8, 7, 8}), c);
  gemm(dense_matrix(nullptr, FloatType::f32, 0, 3, 3), dense_matrix(c.data(), FloatType::f32, 3, 1, 1), 0, nullptr, 1);
}

TEST(Gemm, RefusesWhatDoesNotFit) {
  std::vector<float> values(64);
  const auto square = dense_matrix(values.data(), FloatType::f32, 4, 4, 4);
  const auto flat = dense_matrix(values.data(), FloatType::f32, 3, 4, 4);
  std::vector<float> c(16);
  EXPECT_THROW(gemm(square, flat, 0, c.data(), 4), Error);
  EXPECT_THROW(gemm(square, square, 0, c.data(), 3), Error);
  EXPECT_THROW(gemm(BlockProduct{{square}, {{{square}, c.data(), 4, 1, c.data()}}}), Error);  // a bias and c
  EXPECT_THROW(dense_matrix(values.data(), FloatType::f32, 4, 4, 3), Error);
  EXPECT_THROW(packed_matrix(Code4::nf4, nullptr, values.data(), 96, 4, 4), Error);
  EXPECT_THROW(packed_matrix(Code4::nf4, nullptr, nullptr, 64, 4, 4), Error);
  EXPECT_THROW(gemm(BlockProduct{{square, flat}, {{{square, square}, c.data(), 4, 0, nullptr}}}), Error);
  EXPECT_THROW(gemm(BlockProduct{{square, square}, {{{square}, c.data(), 4, 0, nullptr}}}), Error);
  std::vector<float> d(16);
  const auto made = dense_matrix(c.data(), FloatType::f32, 4, 4, 4);
  EXPECT_THROW(gemm(BlockProduct{{square, made}, {{{square, square}, d.data(), 4}}, 1}), Error);  // nobody makes it
  EXPECT_THROW(
      gemm(BlockProduct{{square, made}, {{.b = {square, square}, .c = c.data(), .stride = 4, .feeds = true}}, 1}),
      Error);  // it reads itself
  EXPECT_THROW(gemm(BlockProduct{{square}, {{{MatrixSource()}, c.data(), 4, 0, nullptr}}}), Error);
}

}  // namespace
}  // namespace lorica::kernels
