// Counter-based random numbers: a value is a pure function of its key, so that recomputation, sharding and pipelining
// draw the same ones without carrying a generator's state around.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numbers>
#include <vector>

namespace lorica {

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64 bits with full avalanche.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

/// One 64-bit key from several parts, in order. `key`: of parts that came before.
constexpr std::uint64_t random_key(std::initializer_list<std::uint64_t> parts, std::uint64_t key = 0) {
  for (const auto part : parts) key = mix64(key ^ part);
  return key;
}

/// The `counter`-th number of the stream `key`.
constexpr std::uint64_t random_bits(std::uint64_t key, std::uint64_t counter) {
  return mix64(key ^ mix64(counter));
}

/// Uniform in [0, 1), 53 bits.
constexpr double random_uniform(std::uint64_t key, std::uint64_t counter) {
  return static_cast<double>(random_bits(key, counter) >> 11) * 0x1.0p-53;
}

/// Standard normal (Box-Muller).
inline double random_normal(std::uint64_t key, std::uint64_t counter) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - random_uniform(key, 2 * counter)));
  return radius * std::cos(2.0 * std::numbers::pi * random_uniform(key, 2 * counter + 1));
}

/// Uniform integer in [0, bound), bound > 0, without modulo bias worth speaking of (multiply-shift on 64 bits).
inline std::uint64_t random_below(std::uint64_t key, std::uint64_t counter, std::uint64_t bound) {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(random_bits(key, counter)) * bound) >> 64);
}

/// A permutation of 0 … count−1 (Fisher-Yates) drawn from the stream `key`.
inline std::vector<std::int64_t> random_permutation(std::uint64_t key, std::int64_t count) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) order[static_cast<std::size_t>(i)] = i;
  for (std::int64_t i = count - 1; i > 0; --i) {
    const auto j = random_below(key, static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i) + 1);
    std::swap(order[static_cast<std::size_t>(i)], order[j]);
  }
  return order;
}

}  // namespace lorica
