// Attention of one block of queries over lanes: forward, and the part of backward that a block of queries shares with a
// block of keys. Internal to kernels/; each instruction set's file includes it for itself. Formulas:
// kernels/attention.hpp.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/attention_tiles.hpp"
#include "kernels/gemm_impl.hpp"

namespace lorica::kernels {
namespace {

/// `Gemm` transposes. A tile of the products has at most MaxRows rows and Vectors · lanes columns.
template <class L, const GemmKernel& Gemm, int MaxRows, int Vectors>
class AttentionBlocks {
 public:
  static constexpr AttentionKernel kernel() {
    return {[](std::int64_t rows, std::int64_t size) { return Forward(nullptr, rows, size).floats; }, forward,
            [](std::int64_t size) { return Backward(nullptr, size).floats; }, backward, round};
  }

 private:
  static constexpr std::int64_t kWide = Vectors * L::kWidth;
  static constexpr int kScoreStep = kAttentionKeys + 16;  // from row to row of scores: no power of two, for the cache
  static constexpr std::int64_t kBatch = 16;              // room for the rows of a tile, in whole lanes
  static constexpr float kNothing = -std::numeric_limits<float>::infinity();

  static std::int64_t padded(std::int64_t size) { return rounded_up(size, L::kWidth); }
  /// From row to row of a matrix with `size` columns.
  static std::int64_t step_of(std::int64_t size) { return padded(size) + 16; }

  /// Cuts `rows` into as few tiles as possible, of nearly equal height.
  struct Cut {
    explicit Cut(std::int64_t rows) : rows(rows), tiles((rows + MaxRows - 1) / MaxRows) {}
    std::int64_t begin(std::int64_t tile) const { return rows * tile / tiles; }
    std::int64_t rows, tiles;
  };

  /// Hands out pieces of the scratch array; of none, it only counts.
  struct Carver {
    float* scratch;
    std::int64_t used;
    float* take(std::int64_t count) {
      float* piece = scratch ? scratch + used : nullptr;
      used += rounded_up(count, 16);
      return piece;
    }
  };

  /// rows [count, size], `step` apart -> panels [size, width] of as many rows as a tile has columns; the last is padded
  /// to whole lanes with rows of zeros, which are written to `rows` first.
  static Panels transposed_panels(float* rows, std::int64_t count, std::int64_t size, std::int64_t step, float* out) {
    const std::int64_t all = padded(count);
    for (std::int64_t row = count; row < all; ++row) std::fill_n(rows + row * step, size, 0.0f);
    for (std::int64_t row = 0; row < all; row += kWide) {
      Gemm.interleave(rows + row * step, step, std::min(kWide, all - row), size, out + row * size);
    }
    return {out, size, 0, kWide};
  }

  // ---- forward

  struct Forward {
    Forward(float* scratch, std::int64_t rows, std::int64_t size) {
      Carver carver{scratch, 0};
      queries = carver.take(rows * size);
      sums = carver.take(rows * padded(size));
      scores = carver.take(MaxRows * kScoreStep);
      keys = carver.take(padded(kAttentionKeys) * size);
      values = carver.take(padded(kAttentionKeys) * step_of(size));
      maximum = carver.take(rows);
      weight = carver.take(rows);
      floats = carver.used;
    }
    float* queries;           ///< transposed, tile by tile
    float* sums;              ///< [rows, padded size], Σ exp(s − maximum) · v
    float* scores;            ///< of one tile
    float* keys;              ///< of a block, transposed
    float* values;            ///< of a block
    float *maximum, *weight;  ///< of each row's scores so far; Σ exp(scale · (s − maximum))
    std::int64_t floats;
  };

  static void forward(const AttentionHead& head, std::int64_t first, std::int64_t count, const RowsOut& out,
                      const HeadValues<float>& lse, float* scratch) {
    const std::int64_t group = head.q.group, size = head.q.size, row = first * group;
    const Cut cut(count * group);
    const Forward work(scratch, cut.rows, size);
    for (std::int64_t tile = 0; tile < cut.tiles; ++tile) {
      const std::int64_t begin = cut.begin(tile), rows = cut.begin(tile + 1) - begin;
      load_rows<L>(head.q, row + begin, rows, work.values, step_of(size));
      Gemm.interleave(work.values, step_of(size), rows, size, work.queries + begin * size);
    }
    std::fill_n(work.maximum, cut.rows, kNothing);
    std::fill_n(work.weight, cut.rows, 0.0f);
    const std::int64_t last = head.end_key(first + count - 1);
    // Blocks of keys lie on one grid for all queries, so that a query's sums do not depend on what it is dealt with.
    for (std::int64_t key = head.first_key(first) / kAttentionKeys * kAttentionKeys; key < last;
         key += kAttentionKeys) {
      forward_keys(head, row, cut, key, std::min(kAttentionKeys, last - key), work);
    }
    std::int64_t done = 0;
    for_rows(out, row, cut.rows, [&](std::int64_t at) {
      store_row<L>(out, at, work.sums + done * padded(size), 1.0f / work.weight[done]);
      ++done;
    });
    for (std::int64_t i = 0; i < cut.rows; ++i) {
      lse[row + i] = head.scale * work.maximum[i] + std::log(work.weight[i]);
    }
  }

  /// The keys [key, key + count) for the rows from `row` on.
  static void forward_keys(const AttentionHead& head, std::int64_t row, const Cut& cut, std::int64_t key,
                           std::int64_t count, const Forward& work) {
    const std::int64_t size = head.q.size, step = step_of(size), width = padded(size), group = head.q.group;
    load_rows<L>(head.k, key, count, work.values, step);
    const Panels keys = transposed_panels(work.values, count, size, step, work.keys);
    load_rows<L>(head.v, key, count, work.values, step);
    const Panels values{work.values, count, step, 0};
    for (std::int64_t tile = 0; tile < cut.tiles; ++tile) {
      const std::int64_t begin = cut.begin(tile), end = cut.begin(tile + 1);
      const std::int64_t from = std::max<std::int64_t>(0, head.first_key((row + begin) / group) - key);
      const std::int64_t to = std::min(count, head.end_key((row + end - 1) / group) - key);
      if (from >= to) continue;
      const int rows = static_cast<int>(end - begin);
      const std::int64_t left = from / kWide * kWide, right = padded(to);
      multiply_rows<L, MaxRows, Vectors, 1>(rows, left, right, padded(count), size, work.queries + begin * size, rows,
                                            keys, 0, nullptr, work.scores, kScoreStep);
      if (head.softcap > 0) cap_scores(work.scores, rows, left, right, head.scale, head.softcap);
      const bool fresh = head.first_key((row + begin) / group) >= key;  // no keys before these
      float factors[kBatch];
      softmax_tile(head, row + begin, rows, key, left, right, work.maximum + begin, work.weight + begin, work.scores,
                   factors);
      multiply_rows<L, MaxRows, Vectors, kScoreStep>(rows, 0, width, width, to - from, work.scores + from, 1, values,
                                                     from, fresh ? nullptr : factors, work.sums + begin * width, width);
    }
  }

  /// Scores become exp(scale · (score − maximum)), 0 where hidden; `factors` is what earlier sums must be multiplied
  /// by.
  static void softmax_tile(const AttentionHead& head, std::int64_t row, int rows, std::int64_t key, std::int64_t left,
                           std::int64_t right, float* maximum, float* weight, float* scores, float* factors) {
    float change[kBatch] = {};
    for_queries(head.q.group, row, rows, [&](std::int64_t i, std::int64_t query) {
      const std::int64_t from = head.first_key(query) - key, to = head.end_key(query) - key;
      const float next = std::max(maximum[i], row_maximum(scores + i * kScoreStep, left, right, from, to));
      // Equal also while nothing was visible: −∞ − (−∞) would be no number.
      change[i] = next == maximum[i] ? 0.0f : head.scale * (maximum[i] - next);
      maximum[i] = next;
    });
    for (std::int64_t i = 0; i < kBatch; i += L::kWidth) L::store(factors + i, L::exponential(L::load(change + i)));
    for_queries(head.q.group, row, rows, [&](std::int64_t i, std::int64_t query) {
      const std::int64_t from = head.first_key(query) - key, to = head.end_key(query) - key;
      const float sum =
          exponentials(scores + i * kScoreStep, left, right, from, to, head.scale, head.scale * maximum[i]);
      weight[i] = weight[i] * factors[i] + sum;
    });
  }

  /// Scores become c · tanh(scale · score / c) / scale: once they are scaled, they are capped.
  static void cap_scores(float* scores, int rows, std::int64_t left, std::int64_t right, float scale, float softcap) {
    const auto inner = L::set(scale / softcap), outer = L::set(softcap / scale);
    for (int i = 0; i < rows; ++i, scores += kScoreStep) {
      for (std::int64_t j = left; j < right; j += L::kWidth) {
        L::store(scores + j, L::multiply(outer, L::tanh(L::multiply(inner, L::load(scores + j)))));
      }
    }
  }

  /// e^x for x ≤ 0, or 0 where that is below 1e-30, which adds nothing to a row's sum of 1: products with it would be
  /// denormal numbers, which are slow (backward was, by 13 %, with scores that far apart).
  static typename L::Float probability(typename L::Float x) {
    return L::zero_below(L::exponential_in_range(x), x, -69.0f);
  }

  static float row_maximum(const float* scores, std::int64_t left, std::int64_t right, std::int64_t from,
                           std::int64_t to) {
    auto most = L::set(kNothing);
    if (from <= left && to >= right) {
      for (std::int64_t j = left; j < right; j += L::kWidth) most = L::max(most, L::load(scores + j));
    } else {
      for (std::int64_t j = left; j < right; j += L::kWidth) {
        most = L::max(most, L::keep(L::load(scores + j), from - j, to - j, kNothing));
      }
    }
    return L::greatest(most);
  }

  /// scores = exp(scale · scores − shift) within [from, to), 0 elsewhere in [left, right); returns their sum.
  static float exponentials(float* scores, std::int64_t left, std::int64_t right, std::int64_t from, std::int64_t to,
                            float scale, float shift) {
    const auto factor = L::set(scale), offset = L::set(-shift);
    auto sum = L::set(0.0f);
    const bool whole = from <= left && to >= right;
    for (std::int64_t j = left; j < right; j += L::kWidth) {
      auto p = probability(L::multiply_add(factor, L::load(scores + j), offset));
      if (!whole) p = L::keep(p, from - j, to - j, 0.0f);
      L::store(scores + j, p);
      sum = L::add(sum, p);
    }
    return L::sum(sum);
  }

  // ---- backward

  struct Backward {
    Backward(float* scratch, std::int64_t size) {
      Carver carver{scratch, 0};
      const std::int64_t step = step_of(size), all = padded(kAttentionKeys);
      keys = carver.take(all * step), dkeys = carver.take(all * step), dvalues = carver.take(all * step);
      keys_transposed = carver.take(all * size), values_transposed = carver.take(all * size);
      for (float** rows : {&queries, &douts, &dqueries}) *rows = carver.take(kAttentionRows * step);
      for (float** tiles : {&queries_transposed, &douts_transposed}) *tiles = carver.take(kAttentionRows * size);
      for (float** square : {&probabilities, &dscores}) *square = carver.take(kAttentionRows * kScoreStep);
      floats = carver.used;
    }
    float *keys, *dkeys, *dvalues;                 ///< [keys, step]
    float *keys_transposed, *values_transposed;    ///< panels
    float *queries, *douts, *dqueries;             ///< [rows, step]
    float *queries_transposed, *douts_transposed;  ///< tile by tile
    float *probabilities, *dscores;                ///< [rows, kScoreStep]
    std::int64_t floats;
  };

  static void backward(const AttentionHead& head, const AttentionGradients& gradients, std::int64_t first,
                       std::int64_t end, std::int64_t first_key, std::int64_t end_key, float* scratch) {
    const std::int64_t group = head.q.group, size = head.q.size, step = step_of(size), count = end_key - first_key;
    const Backward work(scratch, size);
    const bool initial = first == first_key;
    while (first < end && head.end_key(first) <= first_key) ++first;  // those that see none of these keys
    while (first < end && head.first_key(end - 1) >= end_key) --end;
    if (first == end) return;
    load_rows<L>(head.v, first_key, count, work.keys, step);
    const Panels values = transposed_panels(work.keys, count, size, step, work.values_transposed);
    load_rows<L>(head.k, first_key, count, work.keys, step);
    const Panels keys = transposed_panels(work.keys, count, size, step, work.keys_transposed);
    for (float* sums : {work.dkeys, work.dvalues}) std::fill_n(sums, count * step, 0.0f);
    for (std::int64_t row = first * group; row < end * group; row += kAttentionRows) {
      const std::int64_t rows = std::min(kAttentionRows, end * group - row);
      load_rows<L>(head.q, row, rows, work.queries, step);
      load_rows<L>(gradients.dout, row, rows, work.douts, step);
      if (initial) row_products(gradients, row, rows, work);
      backward_scores(head, gradients, row, rows, first_key, count, keys, values, work);
      backward_products(head, gradients, row, rows, first_key, count, initial, work);
    }
    put_rows<L>(gradients.dk, first_key, count, work.dkeys, step, !initial);
    put_rows<L>(gradients.dv, first_key, count, work.dvalues, step, !initial);
  }

  static void row_products(const AttentionGradients& gradients, std::int64_t row, std::int64_t rows,
                           const Backward& work) {
    const std::int64_t width = padded(gradients.out.size), step = step_of(gradients.out.size);
    load_rows<L>(gradients.out, row, rows, work.dqueries, step);
    for (std::int64_t i = 0; i < rows; ++i) {
      gradients.products[row + i] = dot<L>(work.dqueries + i * step, work.douts + i * step, width);
    }
  }

  /// P and dS of `rows` rows, 0 where hidden.
  static void backward_scores(const AttentionHead& head, const AttentionGradients& gradients, std::int64_t row,
                              std::int64_t rows, std::int64_t key, std::int64_t count, const Panels& keys,
                              const Panels& values, const Backward& work) {
    const std::int64_t size = head.q.size, step = step_of(size), all = padded(count), group = head.q.group;
    const Cut cut(rows);
    for (std::int64_t tile = 0; tile < cut.tiles; ++tile) {
      const std::int64_t begin = cut.begin(tile), end = cut.begin(tile + 1);
      const int height = static_cast<int>(end - begin);
      const std::int64_t from = std::max<std::int64_t>(0, head.first_key((row + begin) / group) - key);
      const std::int64_t to = std::min(count, head.end_key((row + end - 1) / group) - key);
      const bool visible = from < to;
      const std::int64_t left = visible ? from / kWide * kWide : 0, right = visible ? padded(to) : 0;
      const auto product = [&](const float* in, float* turned, const Panels& b, float* scores) {
        Gemm.interleave(in + begin * step, step, height, size, turned);
        multiply_rows<L, MaxRows, Vectors, 1>(height, left, right, all, size, turned, height, b, 0, nullptr,
                                              scores + begin * kScoreStep, kScoreStep);
      };
      product(work.queries, work.queries_transposed, keys, work.probabilities);
      product(work.douts, work.douts_transposed, values, work.dscores);
      for_queries(group, row + begin, height, [&](std::int64_t i, std::int64_t query) {
        const std::int64_t at = (begin + i) * kScoreStep;
        float* p = work.probabilities + at;
        if (head.softcap > 0) cap_scores(p, 1, left, right, head.scale, head.softcap);
        score_gradients(p, work.dscores + at, left, right, all, head.first_key(query) - key, head.end_key(query) - key,
                        head, gradients.lse[row + begin + i], gradients.products[row + begin + i]);
      });
    }
  }

  /// One row: p (scores, capped) becomes exp(scale · p − lse), d (dP) becomes scale · p · (d − product), times the
  /// slope of the cap; 0 outside [from, to).
  static void score_gradients(float* p, float* d, std::int64_t left, std::int64_t right, std::int64_t all,
                              std::int64_t from, std::int64_t to, const AttentionHead& head, float lse, float product) {
    const auto zero = L::set(0.0f), factor = L::set(head.scale), shift = L::set(-lse), mean = L::set(product);
    const auto to_share = L::set(head.softcap > 0 ? head.scale / head.softcap : 0.0f);
    const auto clear = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t j = begin; j < end; j += L::kWidth) L::store(p + j, zero), L::store(d + j, zero);
    };
    clear(0, left);
    const bool whole = from <= left && to >= right;
    for (std::int64_t j = left; j < right; j += L::kWidth) {
      auto value = probability(L::multiply_add(factor, L::load(p + j), shift));
      auto slope = L::multiply(L::multiply(factor, value), L::subtract(L::load(d + j), mean));
      if (head.softcap > 0) {
        const auto share = L::multiply(to_share, L::load(p + j));  // s' / c
        slope = L::multiply(slope, L::subtract(L::set(1.0f), L::multiply(share, share)));
      }
      if (!whole) {
        value = L::keep(value, from - j, to - j, 0.0f);
        slope = L::keep(slope, from - j, to - j, 0.0f);
      }
      L::store(p + j, value);
      L::store(d + j, slope);
    }
    clear(right, all);
  }

  /// dv += Pᵀ dout, dk += dSᵀ q, dq (= if `initial`, otherwise +=) dS k.
  static void backward_products(const AttentionHead& head, const AttentionGradients& gradients, std::int64_t row,
                                std::int64_t rows, std::int64_t key, std::int64_t count, bool initial,
                                const Backward& work) {
    const std::int64_t size = head.q.size, step = step_of(size), width = padded(size), group = head.q.group;
    static constexpr auto kOnes = [] {
      std::array<float, kBatch> ones{};
      for (auto& one : ones) one = 1.0f;
      return ones;
    }();
    const std::int64_t query = row / group, end_query = (row + rows - 1) / group + 1;
    const Panels queries{work.queries, rows, step, 0}, douts{work.douts, rows, step, 0};
    const Cut cut(count);
    for (std::int64_t tile = 0; tile < cut.tiles; ++tile) {
      const std::int64_t begin = cut.begin(tile), end = cut.begin(tile + 1);
      // The queries that see some of these keys.
      std::int64_t from = query, to = end_query;
      while (from < to && head.end_key(from) <= key + begin) ++from;
      while (from < to && head.first_key(to - 1) >= key + end) --to;
      if (from == to) continue;
      const std::int64_t top = std::max<std::int64_t>(0, from * group - row), bottom = std::min(rows, to * group - row);
      const auto add = [&](const float* a, const Panels& b, float* sums) {
        multiply_rows<L, MaxRows, Vectors, 1>(static_cast<int>(end - begin), 0, width, width, bottom - top,
                                              a + top * kScoreStep + begin, kScoreStep, b, top, kOnes.data(),
                                              sums + begin * step, step);
      };
      add(work.probabilities, douts, work.dvalues);
      add(work.dscores, queries, work.dkeys);
    }
    const Panels keys{work.keys, count, step, 0};
    const Cut tall(rows);
    for (std::int64_t tile = 0; tile < tall.tiles; ++tile) {
      const std::int64_t begin = tall.begin(tile), end = tall.begin(tile + 1);
      const std::int64_t from = std::max<std::int64_t>(0, head.first_key((row + begin) / group) - key);
      const std::int64_t to = std::min(count, head.end_key((row + end - 1) / group) - key);
      if (from >= to) continue;
      multiply_rows<L, MaxRows, Vectors, kScoreStep>(static_cast<int>(end - begin), 0, width, width, to - from,
                                                     work.dscores + begin * kScoreStep + from, 1, keys, from, nullptr,
                                                     work.dqueries + begin * step, step);
      put_rows<L>(gradients.dq, row + begin, end - begin, work.dqueries + begin * step, step, !initial);
    }
  }

  static void round(const RowsIn& in, std::int64_t first, std::int64_t end, const RowsOut& out) {
    for (std::int64_t row = first; row < end; ++row) {
      store_row<L>(out, out.at(row), static_cast<const float*>(in.data) + in.at(row), 1.0f);
    }
  }
};

}  // namespace
}  // namespace lorica::kernels
