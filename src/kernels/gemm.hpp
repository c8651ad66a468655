// Matrix product in float32 whose operands may be kept in 16 bits or in 4-bit blocks: they are widened panel by panel
// as the product needs them, so that no dense copy of a weight ever exists.
//
// Method: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), and BLIS (Van Zee, van de
// Geijn 2015, https://doi.org/10.1145/2764454): both operands are packed into panels that fit the caches, and a small
// kernel multiplies panels in registers. Sums are float32, in blocks of k that depend on k and this machine's second
// cache alone; so an element of c does not depend on the number of threads or on m and n.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/blockwise_4bit.hpp"
#include "kernels/float_type.hpp"

namespace lorica::kernels {

/// A matrix to be read, as it is stored (row-major, `rows` × `columns`), or as the transpose of that. A view: it owns
/// nothing. Make it with the functions below.
struct MatrixSource {
  const void* data = nullptr;       ///< elements of `type`, or 4-bit codes (two a byte, the first in the high nibble)
  const float* absmax = nullptr;    ///< if 4-bit: one for each block, blocks running through the rows' ends
  std::int64_t rows = 0;            ///< as stored
  std::int64_t columns = 0;         ///< as stored
  std::int64_t stride = 0;          ///< elements from stored row to stored row
  FloatType type = FloatType::f32;  ///< if dense
  Code4 code = Code4::nf4;          ///< if 4-bit
  int block_shift = 0;              ///< if 4-bit: log2 of the block size
  bool transposed = false;

  bool empty() const { return rows == 0 && columns == 0; }
  bool packed() const { return absmax != nullptr; }
  std::int64_t logical_rows() const { return transposed ? columns : rows; }
  std::int64_t logical_columns() const { return transposed ? rows : columns; }
};

/// rows × columns elements, row i at data + i · stride.
MatrixSource dense_matrix(const void* data, FloatType type, std::int64_t rows, std::int64_t columns,
                          std::int64_t stride);
/// A weight as kernels/blockwise_4bit.hpp stores it: value = code value × absmax[index / block_size]. block_size is a
/// power of two from 32 (Error otherwise); columns need not be a multiple of it. `absmax` is already in float32.
MatrixSource packed_matrix(Code4 code, const std::uint8_t* data, const float* absmax, std::int64_t block_size,
                           std::int64_t rows, std::int64_t columns);
MatrixSource transposed(MatrixSource matrix);

/// c = a · b + beta · c, with a [m, k], b [k, n] (after transposition) and c float32 [m, n], row i at c + i · stride.
/// With beta 0, c is not read. c overlaps neither operand. Error if the shapes do not fit. Runs on all threads.
/// So for a weight W [out, in]: y = x Wᵀ is gemm(x, transposed(W), …), dx = dy W is gemm(dy, W, …).
void gemm(const MatrixSource& a, const MatrixSource& b, float beta, float* c, std::int64_t stride);

/// A product of matrices of blocks: c_j = alpha_j · Σ_i a_i · b_ij + beta_j · c_j + bias_j. What several products share
/// is read and packed once: projections of one input (the same a, several c), gradients that meet in one input (several
/// a, the same c), a low-rank term on top of a weight (one more a and b), which may itself be made on the way: x Wᵀ +
/// (x Aᵀ) Bᵀ is the columns u = x Aᵀ and y = x Wᵀ + u Bᵀ of one product.
struct BlockProduct {
  struct Column {
    std::vector<MatrixSource> b;  ///< [k_i, n_j] for each a; a default-made one is zero and costs nothing
    float* c = nullptr;           ///< float32 [m, n_j], row i at c + i · stride
    std::int64_t stride = 0;
    float beta = 0;               ///< 0: c is not read
    const float* bias = nullptr;  ///< float32 [n_j], added to each row, or null; only with beta 0
    float alpha = 1;
    bool feeds = false;  ///< an a beyond `given` reads this c; its own blocks are zero there
  };
  std::vector<MatrixSource> a;  ///< [m, k_i]
  std::vector<Column> columns;
  std::size_t given = static_cast<std::size_t>(-1);  ///< the first so many a are there before; the others are fed
};

/// Sums run over i in order, each in blocks of k_i as above. Error if the shapes do not fit.
void gemm(const BlockProduct& product);

}  // namespace lorica::kernels
