// The blocked matrix product: how the work is cut, packed and dealt out to threads.
//
// A is packed once for up to kPackedLimit bytes: for each block of k, panels [k, tile_rows]. Then the threads share
// out c's columns: each packs a group of B panels [k, tile_columns] for itself, block of k by block of k, and runs A's
// panels past them. One B panel stays in the first cache meanwhile, a block of A's rows in the second.
#include "kernels/gemm.hpp"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "kernels/gemm_impl.hpp"
#include "kernels/mode.hpp"

namespace lorica::kernels {
namespace {

constexpr std::int64_t kPackedLimit = 5 << 19;  // bytes of packed A; 12 MiB were 15 % slower at k = 4,864
constexpr std::int64_t kGroupPanels = 4;        // panels of B that share one pass over A
constexpr std::int64_t kChunk = 64;             // columns that are transposed at a time, in the first cache

const GemmKernel& implementation() {
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return kGemmAvx512;
    case InstructionSet::avx2:
      return kGemmAvx2;
    case InstructionSet::reference:
      break;
  }
  return kGemmReference;
}

std::int64_t cache_bytes([[maybe_unused]] int level, std::int64_t otherwise) {
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  const long bytes = ::sysconf(level == 1 ? _SC_LEVEL1_DCACHE_SIZE : _SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return otherwise;
}

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return divide_up(a, b) * b;
}

/// A float array that a thread keeps from call to call: fresh memory would cost a page fault every 4 KiB.
class Scratch {
 public:
  float* get(std::int64_t count) {
    if (count > count_) {
      memory_.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<std::size_t>(round_up(count * 4, 64)))));
      count_ = memory_ ? count : 0;
      if (!memory_) throw std::bad_alloc();
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> memory_;
  std::int64_t count_ = 0;
};

/// Which of a product's three sizes are cut where.
struct Blocking {
  std::int64_t depth;        // of a block of k
  std::int64_t cached_rows;  // of A that stay in the second cache
  std::int64_t packed_rows;  // of A that are packed at once
  std::int64_t packed_depth;

  Blocking(const GemmKernel& kernel, std::int64_t m, std::int64_t k) {
    static const std::int64_t first_cache = cache_bytes(1, 32 << 10), second_cache = cache_bytes(2, 256 << 10);
    const std::int64_t most = std::max<std::int64_t>(32, first_cache * 2 / 3 / (kernel.tile_columns * 4) / 32 * 32);
    depth = round_up(divide_up(k, divide_up(k, most)), 32);
    const std::int64_t tall = std::max<std::int64_t>(1, second_cache * 5 / 8 / (depth * 4) / kernel.tile_rows);
    const std::int64_t panels = divide_up(m, kernel.tile_rows);
    cached_rows = divide_up(panels, divide_up(panels, tall)) * kernel.tile_rows;
    packed_rows = std::min(m, kPackedLimit / (depth * 4) / kernel.tile_rows * kernel.tile_rows);
    packed_depth = std::max<std::int64_t>(1, kPackedLimit / (packed_rows * depth * 4)) * depth;
  }
};

class Product {
 public:
  Product(const MatrixSource& a, const MatrixSource& b, float beta, float* c, std::int64_t stride)
      : kernel_(implementation()),
        a_(a),
        b_(b),
        beta_(beta),
        c_(c),
        stride_(stride),
        m_(a.logical_rows()),
        n_(b.logical_columns()),
        k_(a.logical_columns()),
        blocking_(kernel_, m_, k_) {}

  void run() {
    for (row_ = 0; row_ < m_; row_ += blocking_.packed_rows) {
      rows_ = std::min(blocking_.packed_rows, m_ - row_);
      for (start_ = 0; start_ < k_; start_ += blocking_.packed_depth) {
        length_ = std::min(blocking_.packed_depth, k_ - start_);
        pack_a();
        multiply();
      }
    }
  }

 private:
  /// Packs `width` rows (of A) or columns (of B) from `index` on, for k in [begin, begin + count): out [count, panel]
  /// with zeros beyond width. `along`: the stored rows run along k.
  void pack(const MatrixSource& source, bool along, std::int64_t index, std::int64_t width, std::int64_t panel,
            std::int64_t begin, std::int64_t count, float* out) const {
    if (along) {
      if (width < panel) std::memset(out, 0, static_cast<std::size_t>(count * panel) * sizeof(float));
      return kernel_.read(source, begin, count, index, width, out, panel);
    }
    if (!source.packed() && source.type == FloatType::f32 && width == panel) {
      const auto* first = static_cast<const float*>(source.data) + index * source.stride + begin;
      return kernel_.interleave(first, source.stride, width, count, out);
    }
    static thread_local Scratch scratch;
    float* rows = scratch.get(panel * kChunk);
    if (width < panel) std::memset(rows, 0, static_cast<std::size_t>(panel * kChunk) * sizeof(float));
    for (std::int64_t at = 0; at < count; at += kChunk) {
      const std::int64_t length = std::min(kChunk, count - at);
      kernel_.read(source, index, width, begin + at, length, rows, kChunk);
      kernel_.interleave(rows, kChunk, panel, length, out + at * panel);
    }
  }

  /// Where A's panel that begins at packed row `row` and packed depth `depth` lies (blocks of k one after another).
  float* packed_a(std::int64_t row, std::int64_t depth) const {
    const std::int64_t count = std::min(blocking_.depth, length_ - depth);
    return buffer_ + depth * rows_ + row * count;
  }

  void pack_a() {
    static thread_local Scratch scratch;
    buffer_ = scratch.get(rows_ * length_);
    const std::int64_t panels = divide_up(rows_, kernel_.tile_rows), blocks = divide_up(length_, blocking_.depth);
    const std::int64_t grain = std::max<std::int64_t>(1, (1 << 15) / (kernel_.tile_rows * blocking_.depth));
    parallel_for(panels * blocks, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t row = i / blocks * kernel_.tile_rows, depth = i % blocks * blocking_.depth;
        const std::int64_t width = std::min<std::int64_t>(kernel_.tile_rows, rows_ - row);
        pack(a_, a_.transposed, row_ + row, width, width, start_ + depth, std::min(blocking_.depth, length_ - depth),
             packed_a(row, depth));
      }
    });
  }

  /// Few columns and many threads: the rows are cut too, and each part packs B for itself.
  void multiply() {
    const std::int64_t panels = divide_up(n_, kernel_.tile_columns), tall = divide_up(rows_, kernel_.tile_rows);
    const std::int64_t wanted = 2 * static_cast<std::int64_t>(thread_count());
    const std::int64_t parts = panels >= wanted ? 1 : std::clamp<std::int64_t>(wanted / panels, 1, divide_up(tall, 8));
    const std::int64_t part_rows = divide_up(tall, parts) * kernel_.tile_rows;
    parallel_for(panels * parts, 1, [&](std::int64_t begin, std::int64_t end) {
      while (begin < end) {
        const std::int64_t part = begin / panels, panel = begin % panels;
        const std::int64_t group = std::min({kGroupPanels, end - begin, panels - panel});
        const std::int64_t first = part * part_rows;
        if (first < rows_) group_product(panel, group, first, std::min(rows_, first + part_rows));
        begin += group;
      }
    });
  }

  /// c[first … last, columns of `group` panels] += its part of the sum over the packed depth.
  void group_product(std::int64_t panel, std::int64_t group, std::int64_t first, std::int64_t last) const {
    static thread_local Scratch scratch;
    const std::int64_t wide = kernel_.tile_columns;
    float* packed = scratch.get(group * wide * blocking_.depth);
    for (std::int64_t depth = 0; depth < length_; depth += blocking_.depth) {
      const std::int64_t count = std::min(blocking_.depth, length_ - depth);
      for (std::int64_t j = 0; j < group; ++j) {
        const std::int64_t column = (panel + j) * wide;
        pack(b_, !b_.transposed, column, std::min(wide, n_ - column), wide, start_ + depth, count,
             packed + j * wide * count);
      }
      const float beta = start_ + depth == 0 ? beta_ : 1.0f;
      for (std::int64_t row = first; row < last; row += blocking_.cached_rows) {
        const std::int64_t end = std::min(last, row + blocking_.cached_rows);
        for (std::int64_t j = 0; j < group; ++j) {
          column_product((panel + j) * wide, packed + j * wide * count, depth, count, row, end, beta);
        }
      }
    }
  }

  /// One B panel against A's panels of the rows [first, last).
  void column_product(std::int64_t column, const float* b, std::int64_t depth, std::int64_t count, std::int64_t first,
                      std::int64_t last, float beta) const {
    const std::int64_t wide = std::min<std::int64_t>(kernel_.tile_columns, n_ - column);
    for (std::int64_t row = first; row < last; row += kernel_.tile_rows) {
      const int rows = static_cast<int>(std::min<std::int64_t>(kernel_.tile_rows, rows_ - row));
      float* target = c_ + (row_ + row) * stride_ + column;
      if (wide == kernel_.tile_columns) {
        kernel_.tile(rows, count, packed_a(row, depth), b, beta, target, stride_);
      } else {
        partial_tile(rows, count, packed_a(row, depth), b, beta, target, wide);
      }
    }
  }

  /// A tile that reaches beyond c's last column.
  void partial_tile(int rows, std::int64_t count, const float* a, const float* b, float beta, float* c,
                    std::int64_t wide) const {
    float tile[16 * 64];
    kernel_.tile(rows, count, a, b, 0.0f, tile, kernel_.tile_columns);
    for (int i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < wide; ++j) {
        float& target = c[i * stride_ + j];
        target = beta == 0.0f ? tile[i * kernel_.tile_columns + j] : tile[i * kernel_.tile_columns + j] + beta * target;
      }
    }
  }

  const GemmKernel& kernel_;
  const MatrixSource &a_, &b_;
  const float beta_;
  float* const c_;
  const std::int64_t stride_, m_, n_, k_;
  const Blocking blocking_;
  std::int64_t row_ = 0, rows_ = 0, start_ = 0, length_ = 0;  // the part of A that is packed now
  float* buffer_ = nullptr;
};

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
  matrix.absmax = absmax, matrix.code = code;
  matrix.block_shift = std::countr_zero(static_cast<std::uint64_t>(block_size));
  return matrix;
}

MatrixSource transposed(MatrixSource matrix) {
  matrix.transposed = !matrix.transposed;
  return matrix;
}

void gemm(const MatrixSource& a, const MatrixSource& b, float beta, float* c, std::int64_t stride) {
  const std::int64_t m = a.logical_rows(), n = b.logical_columns(), k = a.logical_columns();
  ensure(b.logical_rows() == k && stride >= n, "product of [{}, {}] and [{}, {}] into rows {} apart", m, k,
         b.logical_rows(), n, stride);
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) c[i * stride + j] = beta == 0.0f ? 0.0f : beta * c[i * stride + j];
    }
    return;
  }
  Product(a, b, beta, c, stride).run();
}

}  // namespace lorica::kernels
