#include "data/numpy_random.hpp"

#include <array>
#include <bit>
#include <utility>

#include "base/error.hpp"

namespace lorica::data {
namespace {

using Word128 = unsigned __int128;

constexpr Word128 kMultiplier = (static_cast<Word128>(2549297995355413924ULL) << 64) | 4865540595714422341ULL;

/// numpy's SeedSequence: 256 bits of well-mixed state from an integer.
std::array<std::uint64_t, 4> seed_words(std::uint64_t seed) {
  std::uint32_t constant = 0x43b0d7e5U;
  const auto hash = [&](std::uint32_t value) {
    value ^= constant;
    constant *= 0x931e8875U;
    value *= constant;
    return value ^ (value >> 16);
  };
  const auto mix = [](std::uint32_t x, std::uint32_t y) {
    const std::uint32_t result = x * 0xca01f9ddU - y * 0x4973f715U;
    return result ^ (result >> 16);
  };
  std::array<std::uint32_t, 4> pool{};
  pool[0] = hash(static_cast<std::uint32_t>(seed));
  pool[1] = hash(static_cast<std::uint32_t>(seed >> 32));
  pool[2] = hash(0);
  pool[3] = hash(0);
  for (std::size_t from = 0; from < 4; ++from) {
    for (std::size_t to = 0; to < 4; ++to) {
      if (from != to) pool[to] = mix(pool[to], hash(pool[from]));
    }
  }
  std::array<std::uint64_t, 4> words{};
  std::uint32_t output = 0x8b51f9ddU;
  for (std::size_t i = 0; i < 8; ++i) {
    std::uint32_t value = pool[i % 4] ^ output;
    output *= 0x58f38dedU;
    value *= output;
    value ^= value >> 16;
    words[i / 2] |= static_cast<std::uint64_t>(value) << (32 * (i % 2));
  }
  return words;
}

class Pcg64 {
 public:
  explicit Pcg64(std::uint64_t seed) {
    const auto words = seed_words(seed);
    increment_ = (((static_cast<Word128>(words[2]) << 64) | words[3]) << 1) | 1;
    step();
    state_ += (static_cast<Word128>(words[0]) << 64) | words[1];
    step();
  }

  /// Low half of each 64-bit output first, then its high half.
  std::uint32_t next32() {
    if (has_half_) {
      has_half_ = false;
      return half_;
    }
    step();
    const auto high = static_cast<std::uint64_t>(state_ >> 64), low = static_cast<std::uint64_t>(state_);
    const auto output = std::rotr(high ^ low, static_cast<int>(high >> 58));
    half_ = static_cast<std::uint32_t>(output >> 32);
    has_half_ = true;
    return static_cast<std::uint32_t>(output);
  }

 private:
  void step() { state_ = state_ * kMultiplier + increment_; }
  Word128 state_ = 0, increment_ = 0;
  std::uint32_t half_ = 0;
  bool has_half_ = false;
};

}  // namespace

std::vector<std::int64_t> numpy_permutation(std::uint64_t seed, std::int64_t count) {
  ensure(count >= 0 && count < (std::int64_t{1} << 32), "a permutation of {} elements", count);
  Pcg64 generator(seed);
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
  for (std::int64_t i = count - 1; i > 0; --i) {
    const auto mask = static_cast<std::uint32_t>(std::bit_ceil(static_cast<std::uint64_t>(i) + 1) - 1);
    std::uint32_t j;
    do j = generator.next32() & mask;
    while (j > i);
    std::swap(order[static_cast<std::size_t>(i)], order[j]);
  }
  return order;
}

}  // namespace lorica::data
