// What an instruction set provides for kernels/gemm.hpp. Internal to kernels/.
#pragma once

#include <cstddef>

#include "kernels/gemm.hpp"

namespace lorica::kernels {

constexpr std::int64_t kLine = 64;  // bytes of a cache line

// What stands here is inlined wherever it is used: each file is compiled for its own instruction set, and the linker
// would keep one copy for all.

/// Of `count` elements that begin at a whole byte.
[[gnu::always_inline]] inline std::int64_t bytes_of(const MatrixSource& m, std::int64_t count) {
  return m.packed() ? count * m.codec.bits / 8 : count * static_cast<std::int64_t>(float_size(m.type));
}
[[gnu::always_inline]] inline const std::byte* address_of(const MatrixSource& m, std::int64_t row,
                                                          std::int64_t column) {
  return static_cast<const std::byte*>(m.data) + bytes_of(m, row * m.stride + column);
}

/// Lines of memory that will be read soon. A tile asks for them one by one while it multiplies: memory would keep
/// whoever reads them waiting otherwise.
class Lines {
 public:
  Lines() = default;
  /// `bytes` of each of `rows` rows, `stride` bytes apart.
  [[gnu::always_inline]] Lines(const std::byte* first, std::int64_t rows, std::int64_t bytes, std::int64_t stride)
      : at_(first), rows_(rows), stride_(stride), in_column_(rows) {
    if (bytes == stride) rows_ = in_column_ = (rows * bytes + kLine - 1) / kLine, stride_ = bytes = kLine;
    left_ = rows_ * ((bytes + kLine - 1) / kLine);
  }
  [[gnu::always_inline]] void ask() {
    if (left_ == 0) return;
    __builtin_prefetch(at_, 0, 2);
    at_ += stride_;
    --left_;
    if (--in_column_ == 0) in_column_ = rows_, at_ += kLine - rows_ * stride_;
  }

 private:
  const std::byte* at_ = nullptr;
  std::int64_t rows_ = 0, stride_ = 0, in_column_ = 0, left_ = 0;
};

/// Columns of b: row p at data + p · stride elements of `type`, float32 or bfloat16.
struct Columns {
  const void* data = nullptr;
  std::int64_t stride = 0;
  FloatType type = FloatType::f32;
};

struct GemmKernel {
  int tile_rows, tile_columns;  ///< of the tile of c that stays in registers
  int lanes;                    ///< what its columns are a multiple of

  /// c [rows, columns] = alpha · a · b + beta · c (not read if beta is 0) with 1 ≤ rows ≤ tile_rows; a packed [k,
  /// rows], b [k, columns], columns a multiple of lanes up to tile_columns. Asks for some of `lines`.
  void (*tile)(int rows, int columns, std::int64_t k, const float* a, const Columns& b, float alpha, float beta,
               float* c, std::int64_t stride, Lines& lines);

  /// Stored rows side by side: out[j · panel + i] = the stored element (row + i, column + j), widened, for i < rows and
  /// j < columns; 0 for rows ≤ i < panel. `matrix`'s transposition is ignored. Asks for some of `lines`.
  void (*turn)(const MatrixSource& matrix, std::int64_t row, std::int64_t rows, std::int64_t column,
               std::int64_t columns, std::int64_t panel, float* out, Lines& lines);

  /// Stored columns in panels, `step` apart: out[p · step + i · panel + j] = the stored element (row + i, column +
  /// p · panel + j), widened; 0 beyond `columns` in the last panel. `matrix`'s transposition is ignored.
  void (*cut)(const MatrixSource& matrix, std::int64_t row, std::int64_t rows, std::int64_t column,
              std::int64_t columns, std::int64_t panel, std::int64_t step, float* out);

  /// out[j · width + i] = in[i · stride + j] for i < width, j < count.
  void (*interleave)(const float* in, std::int64_t stride, std::int64_t width, std::int64_t count, float* out);
};

extern const GemmKernel kGemmReference, kGemmAvx2, kGemmAvx512;

}  // namespace lorica::kernels
