// Matrix product in float32 whose operands may be kept in 16 bits, or as codes of 4 or 8 bits with a scale for each
// group: they are widened panel by panel as the product needs them, so that no dense copy of a weight ever exists.
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

/// How codes stand for values: what the code says × the scale of its group. Element i of the matrix, in the order of
/// memory, is of group i / group: groups run through the rows' ends, or are the rows.
struct Codec {
  int bits = 0;                   ///< 0: there are no codes; 4: two a byte, the first in the high nibble; 8: a byte
  const float* table = nullptr;   ///< 4 bits: what each of the 16 codes says; 8 bits: none, the code is a signed number
  const float* scales = nullptr;  ///< one for each group
  int group_shift = 0;            ///< 4 bits: log2 of a group's elements, from 5 on; 8 bits: unused, a group is a row
};

/// A matrix to be read, as it is stored (row-major, `rows` × `columns`), or as the transpose of that. A view: it owns
/// nothing. Make it with the functions below.
struct MatrixSource {
  const void* data = nullptr;       ///< elements of `type`, or codes
  std::int64_t rows = 0;            ///< as stored
  std::int64_t columns = 0;         ///< as stored
  std::int64_t stride = 0;          ///< elements from stored row to stored row
  FloatType type = FloatType::f32;  ///< if dense
  Codec codec;                      ///< if not
  bool transposed = false;

  bool empty() const { return rows == 0 && columns == 0; }
  bool packed() const { return codec.bits != 0; }
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
/// Signed bytes, each row with its scale: value = code × scales[row].
MatrixSource byte_matrix(const std::int8_t* codes, const float* scales, std::int64_t rows, std::int64_t columns);
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
