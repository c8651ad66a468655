// numpy's default generator, as far as `datasets.shuffle(seed)` uses it: named data sets are chosen by its
// permutations.
#pragma once

#include <cstdint>
#include <vector>

namespace lorica::data {

/// numpy.random.default_rng(seed).permutation(count). PCG64 (O'Neill 2014, XSL-RR output) seeded through SeedSequence;
/// masked rejection; Fisher-Yates from the end. count < 2^32.
std::vector<std::int64_t> numpy_permutation(std::uint64_t seed, std::int64_t count);

}  // namespace lorica::data
