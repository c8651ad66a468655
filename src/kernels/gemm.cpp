#include "kernels/gemm.hpp"

#include <algorithm>
#include <bit>

#include "base/error.hpp"
#include "kernels/gemm_product.hpp"

namespace lorica::kernels {
namespace {

void scale(const BlockProduct::Column& column, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t i = 0; i < rows; ++i) {
    float* row = column.c + i * column.stride;
    for (std::int64_t j = 0; j < columns; ++j) {
      row[j] = column.bias != nullptr ? column.bias[j] : column.beta == 0.0f ? 0.0f : column.beta * row[j];
    }
  }
}

/// Of a column: how wide it is, and how many products each of its elements sums.
struct Extent {
  std::int64_t width = -1, depth = 0;
};

Extent checked(const BlockProduct& product, const BlockProduct::Column& column) {
  ensure(column.b.size() == product.a.size(), "{} blocks for {} operands", column.b.size(), product.a.size());
  Extent extent;
  for (std::size_t i = 0; i < column.b.size(); ++i) {
    const auto& b = column.b[i];
    if (b.empty()) continue;
    const std::int64_t k = product.a[i].logical_columns(), n = b.logical_columns();
    ensure(b.logical_rows() == k && column.stride >= n && (extent.width < 0 || extent.width == n),
           "product of [{}, {}] and [{}, {}] into rows {} apart", product.a[i].logical_rows(), k, b.logical_rows(), n,
           column.stride);
    extent.width = n;
    extent.depth += k;
  }
  ensure(extent.width >= 0, "a product without a factor");
  for (std::size_t i = product.given; column.feeds && i < product.a.size(); ++i) {
    ensure(column.b[i].empty(), "a column that feeds a product's operand reads such a one itself");
  }
  ensure(column.bias == nullptr || column.beta == 0.0f, "a product with a bias and beta {}", column.beta);
  return extent;
}

}  // namespace

MatrixSource dense_matrix(const void* data, FloatType type, std::int64_t rows, std::int64_t columns,
                          std::int64_t stride) {
  ensure(rows >= 0 && columns >= 0 && stride >= columns, "a {} × {} matrix with rows {} apart", rows, columns, stride);
  MatrixSource matrix;
  matrix.data = data, matrix.type = type, matrix.rows = rows, matrix.columns = columns, matrix.stride = stride;
  return matrix;
}

MatrixSource packed_matrix(Code4 code, const std::uint8_t* data, const float* absmax, std::int64_t block_size,
                           std::int64_t rows, std::int64_t columns) {
  ensure(block_size >= 32 && std::has_single_bit(static_cast<std::uint64_t>(block_size)),
         "a 4-bit block size of {} is no power of two from 32 on", block_size);
  ensure(absmax != nullptr, "a 4-bit matrix without absmax");
  MatrixSource matrix = dense_matrix(data, FloatType::f32, rows, columns, columns);
  matrix.codec = {4, code4_values(code).data(), absmax, std::countr_zero(static_cast<std::uint64_t>(block_size))};
  return matrix;
}

MatrixSource byte_matrix(const std::int8_t* codes, const float* scales, std::int64_t rows, std::int64_t columns) {
  ensure(scales != nullptr, "an 8-bit matrix without scales");
  MatrixSource matrix = dense_matrix(codes, FloatType::f32, rows, columns, columns);
  matrix.codec = {8, nullptr, scales, 0};
  return matrix;
}

MatrixSource transposed(MatrixSource matrix) {
  matrix.transposed = !matrix.transposed;
  return matrix;
}

void gemm(const BlockProduct& product) {
  ensure(!product.a.empty(), "a product without an operand");
  const std::int64_t m = product.a.front().logical_rows();
  for (const auto& a : product.a) ensure(a.logical_rows() == m, "operands of {} and {} rows", m, a.logical_rows());
  for (std::size_t i = product.given; i < product.a.size(); ++i) {
    const auto feeds = [&](const auto& column) { return column.feeds && column.c == product.a[i].data; };
    ensure(std::any_of(product.columns.begin(), product.columns.end(), feeds), "operand {} is fed by no column", i);
  }
  BlockProduct work{product.a, {}, product.given};
  for (const auto& column : product.columns) {
    const auto extent = checked(product, column);
    if (m == 0 || extent.width == 0) continue;
    if (extent.depth == 0) {
      scale(column, m, extent.width);
    } else {
      work.columns.push_back(column);
    }
  }
  if (!work.columns.empty()) run_blocked(work);
}

void gemm(const MatrixSource& a, const MatrixSource& b, float beta, float* c, std::int64_t stride) {
  gemm(BlockProduct{{a}, {{{b}, c, stride, beta}}});
}

}  // namespace lorica::kernels
