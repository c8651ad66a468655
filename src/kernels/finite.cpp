// A scan of exponent bits: branch-free over pieces, so that the compiler vectorizes it, then exact inside the piece.
#include "kernels/finite.hpp"

#include <algorithm>
#include <atomic>
#include <limits>

#include "base/parallel.hpp"

namespace lorica::kernels {
namespace {

constexpr std::int64_t kPiece = 4096;

template <class Word>
bool any_exponent_full(const Word* words, std::int64_t n, Word exponent) {
  Word found = 0;
  for (std::int64_t i = 0; i < n; ++i) found |= static_cast<Word>((words[i] & exponent) == exponent);
  return found != 0;
}

bool any_non_finite(const void* data, FloatType type, std::int64_t begin, std::int64_t n) {
  const void* first = element_at(data, type, begin);
  if (type == FloatType::f32) return any_exponent_full(static_cast<const std::uint32_t*>(first), n, 0x7F800000u);
  const std::uint16_t exponent = type == FloatType::bf16 ? 0x7F80 : 0x7C00;
  return any_exponent_full(static_cast<const std::uint16_t*>(first), n, exponent);
}

}  // namespace

std::int64_t first_non_finite(const void* data, FloatType type, std::int64_t n) {
  constexpr auto kNone = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> first{kNone};
  const std::int64_t pieces = (n + kPiece - 1) / kPiece;
  parallel_for(pieces, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end && piece * kPiece < first.load(); ++piece) {
      std::int64_t i = piece * kPiece;
      if (!any_non_finite(data, type, i, std::min(kPiece, n - i))) continue;
      while (!any_non_finite(data, type, i, 1)) ++i;
      std::int64_t seen = first.load();
      while (i < seen && !first.compare_exchange_weak(seen, i)) {
      }
      return;
    }
  });
  return first == kNone ? -1 : first.load();
}

}  // namespace lorica::kernels
