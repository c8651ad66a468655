#include "kernels/adam.hpp"

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "kernels/elementwise_impl.hpp"

namespace lorica::kernels {
namespace {

constexpr std::int64_t kPiece = 1 << 15;  // values that a thread takes at a time

struct Piece {
  std::size_t tensor;
  std::int64_t begin, count;
};

/// All arrays cut into pieces, in their order.
template <class Arrays>
std::vector<Piece> pieces_of(const Arrays& arrays) {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    for (std::int64_t begin = 0; begin < arrays[i].count; begin += kPiece) {
      pieces.push_back({i, begin, std::min(kPiece, arrays[i].count - begin)});
    }
  }
  return pieces;
}

/// Calls body(index) for each piece, on all threads. Many small ones go to a thread together.
template <class Body>
void for_pieces(const std::vector<Piece>& pieces, const Body& body) {
  parallel_for(static_cast<std::int64_t>(pieces.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) body(static_cast<std::size_t>(i));
  });
}

}  // namespace

void adam_update(std::span<const AdamTensor> tensors) {
  const auto& kernel = elementwise();
  const auto pieces = pieces_of(tensors);
  for_pieces(pieces, [&](std::size_t i) {
    auto part = tensors[pieces[i].tensor];
    const auto begin = pieces[i].begin;
    part.value += begin, part.mean += begin, part.square += begin, part.gradient += begin;
    part.count = pieces[i].count;
    kernel.adam(part);
  });
}

void squares(std::span<const FloatSpan> spans, std::span<double> sums) {
  ensure(spans.size() == sums.size(), "sums of squares of {} arrays into {}", spans.size(), sums.size());
  const auto& kernel = elementwise();
  const auto pieces = pieces_of(spans);
  std::vector<double> parts(pieces.size());
  for_pieces(pieces, [&](std::size_t i) {
    parts[i] = kernel.squares(spans[pieces[i].tensor].data + pieces[i].begin, pieces[i].count);
  });
  std::fill(sums.begin(), sums.end(), 0.0);
  for (std::size_t i = 0; i < pieces.size(); ++i) sums[pieces[i].tensor] += parts[i];
}

}  // namespace lorica::kernels
