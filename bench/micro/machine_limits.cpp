// The turns, and the arrays that memory is measured with.
#include "machine_limits.hpp"

#include <algorithm>
#include <chrono>
#include <new>

#include "base/parallel.hpp"

namespace lorica::bench {
namespace {

constexpr std::int64_t kFloats = std::int64_t{1} << 25, kBatch = 16;

/// body(first, count) over all elements on all threads; elements a second.
template <class Body>
double speed(const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  parallel_for(kFloats / kBatch, 1 << 14,
               [&](std::int64_t begin, std::int64_t end) { body(begin * kBatch, (end - begin) * kBatch); });
  return kFloats / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double upper(std::vector<double> turns) {
  if (turns.empty()) return 0;
  const auto at = turns.begin() + static_cast<std::ptrdiff_t>(turns.size() * 9 / 10);
  std::nth_element(turns.begin(), at, turns.end());
  return *at;
}

}  // namespace

LimitMeter::Array LimitMeter::make_array() {
  Array array(static_cast<float*>(std::aligned_alloc(4096, kFloats * sizeof(float))));
  if (!array) throw std::bad_alloc();
  std::fill_n(array.get(), kFloats, 1.0f);
  return array;
}

LimitMeter::LimitMeter(int threads, bool avx2)
    : threads_(threads), avx2_(avx2), a_(make_array()), b_(make_array()), c_(make_array()) {}

void LimitMeter::multiply_add() {
  flops_.push_back(time_multiply_adds(threads_, avx2_));
}

void LimitMeter::stream() {
  float *a = a_.get(), *b = b_.get(), *c = c_.get();
  const double by_triad = 12 * speed([&](std::int64_t at, std::int64_t n) { triad(a + at, b + at, c + at, n); });
  const double by_update = 16 * speed([&](std::int64_t at, std::int64_t n) { update(a + at, c + at, n); });
  bytes_.push_back(std::max(by_triad, by_update));
}

MachineLimits LimitMeter::limits() const {
  return {upper(flops_), upper(bytes_)};
}

}  // namespace lorica::bench
