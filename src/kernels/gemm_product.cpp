// The blocked matrix product: how the work is cut, packed and dealt out to threads.
//
// The sum runs over slices: blocks of k, of the first a, then of the second, and so on. A is packed for as many slices
// as fit into kPackedLimit bytes: for each slice, panels [k, tile rows]. Then the threads share out the columns of all
// c: each packs a group of B panels [k, tile_columns] for itself, slice by slice, and runs A's panels past them, which
// ask memory for the next group meanwhile. The group stays in the second cache, with as much of A's rows as fits. Where
// A is low, B's rows may be read where they lie. Who finds no columns left packs A's next slices.
#include "kernels/gemm_product.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "base/parallel.hpp"
#include "kernels/gemm_impl.hpp"
#include "kernels/mode.hpp"
#include "kernels/scratch.hpp"

namespace lorica::kernels {
namespace {

constexpr std::int64_t kPackedLimit = 5 << 19;  // bytes of packed A; 12 MiB were 15 % slower at k = 4,864
constexpr std::int64_t kGroupPanels = 4;        // panels of B that share one pass over A
constexpr std::int64_t kDirectTiles = 16;       // above one another that may read B where it lies
constexpr std::int64_t kRunPanels = 64;         // that a thread takes at a time, at most

const GemmKernel& implementation() {
  return choose(kGemmReference, kGemmAvx2, kGemmAvx512);
}

/// Bytes of a core's second cache.
std::int64_t second_cache() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const long bytes = ::sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return 256 << 10;
}

/// Of a part of the stored matrix.
Lines lines_of(const MatrixSource& m, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
  return {address_of(m, row, column), rows, bytes_of(m, columns), bytes_of(m, m.stride)};
}

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return divide_up(a, b) * b;
}

/// A block of k, of one a.
struct Slice {
  std::size_t term;           ///< which a
  std::int64_t begin, count;  ///< in its k
  std::int64_t offset;        ///< of its panels in the packed rows: the counts of the slices packed before it
};

/// Slices that are packed together.
struct Chunk {
  std::size_t begin, end;
  std::size_t fed;      ///< from this one on they read what columns of this product give, up to `end`
  std::int64_t length;  ///< the sum of their counts
};

/// Rows of a, packed as far as a chunk goes.
struct Pass {
  const Chunk* chunk;
  std::int64_t row, rows;
  float* packed;

  /// Where the panel that begins at packed row `first` lies (slices one after another).
  float* panel(std::int64_t first, const Slice& slice) const {
    return packed + slice.offset * rows + first * slice.count;
  }
};

/// Pieces that threads do in any order.
struct Work {
  std::int64_t count = 0;
  std::function<void(std::int64_t i)> piece;
};

/// Both, the first begun first.
void together(const Work& first, const Work& second) {
  parallel_each(first.count + second.count,
                [&](std::int64_t i) { i < first.count ? first.piece(i) : second.piece(i - first.count); });
}

/// Up to tile_columns columns of one c.
struct Panel {
  std::size_t column;
  std::int64_t first, width;
  std::int64_t lanes;  ///< the width in whole lanes
};

class Blocked {
 public:
  explicit Blocked(const BlockProduct& product)
      : kernel_(implementation()), product_(product), m_(product.a.front().logical_rows()) {
    cut_depth();
    cut_rows();
    cut_columns();
  }

  void run() {
    const auto passes = all_passes();
    together({}, packings(passes.front(), true));
    for (std::size_t i = 0; i < passes.size(); ++i) {
      const auto& pass = passes[i];
      if (pass.chunk->fed < pass.chunk->end) {
        together(multiplications(pass, 0, feeding_), {});
        together({}, packings(pass, false));
      }
      const std::size_t first = pass.chunk->fed < pass.chunk->end ? feeding_ : 0;
      together(multiplications(pass, first, panels_.size()),
               i + 1 < passes.size() ? packings(passes[i + 1], true) : Work{});
    }
  }

 private:
  void cut_depth() {
    // Long sums in registers: c is read and written once a slice, which costs more than B's panels cost in the second
    // cache instead of the first (3 to 5 % of a training step).
    const std::int64_t most =
        std::max<std::int64_t>(64, second_cache() / 2 / (kGroupPanels * kernel_.tile_columns * 4) / 32 * 32);
    for (std::size_t term = 0; term < product_.a.size(); ++term) {
      const std::int64_t k = product_.a[term].logical_columns();
      if (k == 0) continue;
      const std::int64_t depth = round_up(divide_up(k, divide_up(k, most)), 32);
      for (std::int64_t begin = 0; begin < k; begin += depth) {
        slices_.push_back({term, begin, std::min(depth, k - begin), 0});
      }
      depth_ = std::max(depth_, std::min(depth, k));
    }
  }

  void cut_rows() {
    packed_rows_ = std::min(m_, kPackedLimit / (depth_ * 4) / kernel_.tile_rows * kernel_.tile_rows);
    // Tiles of equal height: 16 rows in two of 8 keep more of the units busy than 14 and 2.
    const std::int64_t panels = divide_up(packed_rows_, kernel_.tile_rows);
    tile_rows_ = divide_up(packed_rows_, panels);
    const std::int64_t tall = std::max<std::int64_t>(1, second_cache() * 5 / 8 / (depth_ * 4) / tile_rows_);
    cached_rows_ = divide_up(panels, divide_up(panels, tall)) * tile_rows_;
    for (std::size_t i = 0; i < slices_.size(); ++i) {
      auto& slice = slices_[i];
      const bool fed = slice.term >= product_.given;  // little, and read last: it needs no chunk of its own
      if (chunks_.empty() || (!fed && (chunks_.back().length + slice.count) * packed_rows_ * 4 > kPackedLimit)) {
        chunks_.push_back({i, i, i, 0});
      }
      auto& chunk = chunks_.back();
      slice.offset = chunk.length;
      chunk.length += slice.count;
      chunk.end = i + 1;
      if (!fed) chunk.fed = chunk.end;
    }
  }

  void cut_columns() {
    first_slice_.resize(product_.columns.size());
    cut_columns(true);
    feeding_ = panels_.size();
    cut_columns(false);
  }

  void cut_columns(bool feeding) {
    for (std::size_t column = 0; column < product_.columns.size(); ++column) {
      if (product_.columns[column].feeds != feeding) continue;
      const auto& blocks = product_.columns[column].b;
      const auto block = std::find_if(blocks.begin(), blocks.end(), [](const auto& b) { return !b.empty(); });
      const std::int64_t n = block->logical_columns(), wide = kernel_.tile_columns;
      for (std::int64_t first = 0; first < n; first += wide) {
        const std::int64_t width = std::min(wide, n - first);
        panels_.push_back({column, first, width, round_up(width, kernel_.lanes)});
      }
      const auto term = static_cast<std::size_t>(block - blocks.begin());
      const auto slice = std::find_if(slices_.begin(), slices_.end(), [&](const Slice& s) { return s.term >= term; });
      first_slice_[column] = static_cast<std::size_t>(slice - slices_.begin());
    }
  }

  /// In order, with memory for two at a time: the next one is packed by threads that find nothing left to multiply.
  std::vector<Pass> all_passes() const {
    static thread_local Scratch scratch;
    std::int64_t length = 0;
    for (const auto& chunk : chunks_) length = std::max(length, chunk.length);
    const std::int64_t size = round_up(packed_rows_ * length, kLine / 4);
    const bool several = packed_rows_ < m_ || chunks_.size() > 1;
    float* packed = scratch.get(several ? 2 * size : size);
    std::vector<Pass> passes;
    for (std::int64_t row = 0; row < m_; row += packed_rows_) {
      for (const auto& chunk : chunks_) {
        passes.push_back({&chunk, row, std::min(packed_rows_, m_ - row), packed + (passes.size() % 2 == 0 ? 0 : size)});
      }
    }
    return passes;
  }

  /// Of the slices whose a is given, or of those that are fed.
  Work packings(const Pass& pass, bool given) const {
    const std::size_t first = given ? pass.chunk->begin : pass.chunk->fed;
    const auto slices = static_cast<std::int64_t>((given ? pass.chunk->fed : pass.chunk->end) - first);
    const std::int64_t count = divide_up(pass.rows, tile_rows_) * slices;
    const std::int64_t grain = std::max<std::int64_t>(1, (1 << 16) / (tile_rows_ * depth_));
    return {divide_up(count, grain), [=, this, &pass](std::int64_t piece) {
              for (std::int64_t i = piece * grain; i < std::min(count, (piece + 1) * grain); ++i) {
                pack(pass, slices_[first + static_cast<std::size_t>(i % slices)], i / slices * tile_rows_);
              }
            }};
  }

  /// The panel of A that begins at packed row `row`.
  void pack(const Pass& pass, const Slice& slice, std::int64_t row) const {
    const auto& a = product_.a[slice.term];
    const std::int64_t width = std::min(tile_rows_, pass.rows - row);
    float* out = pass.panel(row, slice);
    if (a.transposed) {
      kernel_.cut(a, slice.begin, slice.count, pass.row + row, width, width, 0, out);
    } else {
      Lines next =
          lines_of(a, pass.row + row + width, std::min(tile_rows_, pass.rows - row - width), slice.begin, slice.count);
      kernel_.turn(a, pass.row + row, width, slice.begin, slice.count, width, out, next);
    }
  }

  /// Where runs of the panels [first, end) begin, and the end: they get shorter towards it, so that the threads finish
  /// together.
  static std::vector<std::int64_t> runs(std::int64_t first, std::int64_t end) {
    std::vector<std::int64_t> begins{first};
    while (begins.back() < end) {
      const std::int64_t left = end - begins.back();
      begins.push_back(begins.back() + std::clamp<std::int64_t>(left / (2 * thread_count()), 1, kRunPanels));
    }
    return begins;
  }

  /// The panels [first, end), over all slices of the chunk that their columns have. Few columns and many threads: the
  /// rows are cut too, and each part packs B for itself.
  Work multiplications(const Pass& pass, std::size_t first, std::size_t end) const {
    const auto panels = static_cast<std::int64_t>(end - first);
    if (panels == 0) return {};
    const std::int64_t tall = divide_up(pass.rows, tile_rows_), wanted = 2 * std::int64_t{thread_count()};
    const std::int64_t parts = panels >= wanted ? 1 : std::clamp<std::int64_t>(wanted / panels, 1, divide_up(tall, 8));
    const std::int64_t part_rows = divide_up(tall, parts) * tile_rows_;
    auto begins = runs(static_cast<std::int64_t>(first), static_cast<std::int64_t>(end));
    const auto count = static_cast<std::int64_t>(begins.size() - 1) * parts;
    return {count, [=, this, &pass, begins = std::move(begins)](std::int64_t i) {
              const auto run = static_cast<std::size_t>(i / parts);
              const std::int64_t top = i % parts * part_rows, bottom = std::min(pass.rows, top + part_rows);
              if (top < bottom) run_product(pass, begins[run], begins[run + 1], top, bottom);
            }};
  }

  /// Whether tiles read `count` rows of this matrix where they lie: if they run along c's and are a panel as they are,
  /// or few tiles use them and they stay in the second cache meanwhile, which rows some powers of two apart share a
  /// small part of.
  bool is_read_in_place(const MatrixSource& b, std::int64_t count, std::int64_t rows) const {
    if (b.transposed || b.packed() || b.type == FloatType::f16) return false;
    if (b.stride <= kernel_.tile_columns) return true;
    if (rows > kDirectTiles * tile_rows_) return false;
    const std::int64_t cache = second_cache();
    const std::int64_t rows_that_stay = cache / std::max(kLine, std::gcd(bytes_of(b, b.stride), cache / 8));
    return count <= rows_that_stay / 2;
  }

  /// The columns of a group's panels, without data where b is zero. Panels of one matrix that are read along its rows
  /// are packed at once: they lie in the same lines of memory.
  std::array<Columns, kGroupPanels> columns_of(const Slice& slice, std::int64_t begin, std::int64_t group,
                                               std::int64_t rows, float* out) const {
    const std::int64_t wide = kernel_.tile_columns;
    const auto panel = [&](std::int64_t j) -> const Panel& { return panels_[static_cast<std::size_t>(begin + j)]; };
    std::array<Columns, kGroupPanels> found;
    Lines none;
    for (std::int64_t j = 0, next; j < group; j = next) {
      const auto& b = product_.columns[panel(j).column].b[slice.term];
      next = j + 1;
      if (b.empty()) continue;
      if (panel(j).width == panel(j).lanes && is_read_in_place(b, slice.count, rows)) {
        found[static_cast<std::size_t>(j)] = {address_of(b, slice.begin, panel(j).first), b.stride, b.type};
        continue;
      }
      float* const packed = out + j * wide * slice.count;
      if (b.transposed) {
        const std::int64_t narrow = panel(j).lanes;
        kernel_.turn(b, panel(j).first, panel(j).width, slice.begin, slice.count, narrow, packed, none);
        found[static_cast<std::size_t>(j)] = {packed, narrow, FloatType::f32};
        continue;
      }
      while (next < group && panel(next).column == panel(j).column) ++next;
      const std::int64_t width = panel(next - 1).first + panel(next - 1).width - panel(j).first;
      const std::int64_t each = next == j + 1 ? panel(j).lanes : wide;
      kernel_.cut(b, slice.begin, slice.count, panel(j).first, width, each, wide * slice.count, packed);
      for (std::int64_t i = j; i < next; ++i) {
        found[static_cast<std::size_t>(i)] = {out + i * wide * slice.count, each, FloatType::f32};
      }
    }
    return found;
  }

  /// What columns_of will read, or most of it.
  Lines lines_of_b(const Slice& slice, std::int64_t begin, std::int64_t group) const {
    const auto& first = panels_[static_cast<std::size_t>(begin)];
    const auto& b = product_.columns[first.column].b[slice.term];
    if (b.empty()) return {};
    std::int64_t width = 0;
    for (std::int64_t j = begin; j < begin + group; ++j) {
      const auto& panel = panels_[static_cast<std::size_t>(j)];
      if (panel.column == first.column) width += panel.width;
    }
    return b.transposed ? lines_of(b, first.first, width, slice.begin, slice.count)
                        : lines_of(b, slice.begin, slice.count, first.first, width);
  }

  /// c[first … last, columns of the panels begin … end] += its part of the sum over the chunk.
  void run_product(const Pass& pass, std::int64_t begin, std::int64_t end, std::int64_t first,
                   std::int64_t last) const {
    static thread_local Scratch scratch;
    const auto& chunk = *pass.chunk;
    float* packed = scratch.get(kGroupPanels * kernel_.tile_columns * depth_);
    const std::int64_t groups = divide_up(end - begin, kGroupPanels);
    const auto cut = [&](std::int64_t i) { return begin + (end - begin) * i / groups; };
    for (std::int64_t i = 0; i < groups; ++i) {
      const std::int64_t from = cut(i), group = cut(i + 1) - from;
      for (std::size_t s = chunk.begin; s < chunk.end; ++s) {
        const auto columns = columns_of(slices_[s], from, group, last - first, packed);
        Lines lines;
        if (s + 1 < chunk.end) {
          lines = lines_of_b(slices_[s + 1], from, group);
        } else if (i + 1 < groups) {
          lines = lines_of_b(slices_[chunk.begin], cut(i + 1), cut(i + 2) - cut(i + 1));
        }
        group_product(pass, s, from, group, columns.data(), first, last, lines);
      }
    }
  }

  /// The panels of one group against A's panels of the rows [first, last), as many as the cache holds at once.
  void group_product(const Pass& pass, std::size_t s, std::int64_t begin, std::int64_t group, const Columns* columns,
                     std::int64_t first, std::int64_t last, Lines& lines) const {
    for (std::int64_t row = first; row < last; row += cached_rows_) {
      const std::int64_t end = std::min(last, row + cached_rows_);
      for (std::int64_t j = 0; j < group; ++j) {
        if (columns[j].data == nullptr) continue;
        panel_product(pass, panels_[static_cast<std::size_t>(begin + j)], columns[j], s, row, end, lines);
      }
    }
  }

  /// One B panel against A's panels of the rows [first, last).
  void panel_product(const Pass& pass, const Panel& panel, const Columns& b, std::size_t s, std::int64_t first,
                     std::int64_t last, Lines& lines) const {
    const auto& slice = slices_[s];
    const auto& column = product_.columns[panel.column];
    const bool is_first = s == first_slice_[panel.column];
    const float* bias = is_first && column.bias != nullptr ? column.bias + panel.first : nullptr;
    const float beta = is_first && bias == nullptr ? column.beta : 1.0f;
    float beyond[16 * 64];  // a tile that reaches beyond c's last column is made here
    const bool fits = panel.width == panel.lanes;
    for (std::int64_t row = first; row < last; row += tile_rows_) {
      const int rows = static_cast<int>(std::min(tile_rows_, pass.rows - row));
      float* target = column.c + (pass.row + row) * column.stride + panel.first;
      for (int i = 0; bias != nullptr && i < rows; ++i) std::copy_n(bias, panel.width, target + i * column.stride);
      kernel_.tile(rows, static_cast<int>(panel.lanes), slice.count, pass.panel(row, slice), b, column.alpha,
                   fits ? beta : 0.0f, fits ? target : beyond, fits ? column.stride : panel.lanes, lines);
      if (!fits) add_part(beyond, rows, panel, beta, target, column.stride);
    }
  }

  static void add_part(const float* tile, int rows, const Panel& panel, float beta, float* c, std::int64_t stride) {
    for (int i = 0; i < rows; ++i, tile += panel.lanes, c += stride) {
      for (std::int64_t j = 0; j < panel.width; ++j) c[j] = beta == 0.0f ? tile[j] : tile[j] + beta * c[j];
    }
  }

  const GemmKernel& kernel_;
  const BlockProduct& product_;
  const std::int64_t m_;
  std::vector<Slice> slices_;
  std::vector<Chunk> chunks_;
  std::vector<Panel> panels_;             ///< those of columns that feed come first
  std::size_t feeding_ = 0;               ///< how many those are
  std::vector<std::size_t> first_slice_;  ///< by column: where its sum begins
  std::int64_t depth_ = 0;                ///< of the deepest slice
  std::int64_t tile_rows_ = 0, cached_rows_ = 0, packed_rows_ = 0;
};

}  // namespace

void run_blocked(const BlockProduct& product) {
  Blocked(product).run();
}

}  // namespace lorica::kernels
