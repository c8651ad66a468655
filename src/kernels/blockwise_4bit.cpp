// Code tables, dispatch by instruction set, and threads for the 4-bit kernels.
#include "kernels/blockwise_4bit.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "kernels/blockwise_4bit_impl.hpp"
#include "kernels/mode.hpp"

namespace lorica::kernels {
namespace {

// Values a chunk of work should have at least: some ten microseconds of it, far above the cost of handing it out.
constexpr std::int64_t kGrainValues = 1 << 16;

// Quantiles of the normal distribution (QLoRA, appendix E), as float32.
constexpr std::array<float, 16> kNf4 = {-1.0f,
                                        -0.6961928009986877f,
                                        -0.5250730514526367f,
                                        -0.39491748809814453f,
                                        -0.28444138169288635f,
                                        -0.18477343022823334f,
                                        -0.09105003625154495f,
                                        0.0f,
                                        0.07958029955625534f,
                                        0.16093020141124725f,
                                        0.24611230194568634f,
                                        0.33791524171829224f,
                                        0.44070982933044434f,
                                        0.5626170039176941f,
                                        0.7229568362236023f,
                                        1.0f};

// Sign, two exponent bits, one mantissa bit: {0, 1/16, 8, 12, 4, 6, 2, 3} / 12.
constexpr std::array<float, 16> kFp4 = {0.0f / 12,  0.0625f / 12, 8.0f / 12,  12.0f / 12,    4.0f / 12,  6.0f / 12,
                                        2.0f / 12,  3.0f / 12,    0.0f / 12,  -0.0625f / 12, -8.0f / 12, -12.0f / 12,
                                        -4.0f / 12, -6.0f / 12,   -2.0f / 12, -3.0f / 12};

constexpr std::array<std::uint8_t, 16> kNf4Order = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
// FP4 has two zeros: rank 7 is pattern 0 and rank 8 is pattern 8, with 0 as the midpoint between them.
constexpr std::array<std::uint8_t, 16> kFp4Order = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};

constexpr std::array<float, 15> midpoints_of(const std::array<float, 16>& values,
                                             const std::array<std::uint8_t, 16>& order) {
  std::array<float, 15> midpoints{};
  for (std::size_t i = 0; i < 15; ++i) midpoints[i] = (values[order[i]] + values[order[i + 1]]) / 2;
  return midpoints;
}
constexpr auto kNf4Midpoints = midpoints_of(kNf4, kNf4Order);
constexpr auto kFp4Midpoints = midpoints_of(kFp4, kFp4Order);

const Blockwise4bit& implementation() {
  return choose(kBlockwise4bitReference, kBlockwise4bitAvx2, kBlockwise4bitAvx512);
}

/// Calls whole(first block, blocks) for ranges of the whole blocks, on all threads, then rest() if the last is shorter.
template <class Whole, class Rest>
void for_blocks(std::int64_t n, std::int64_t block_size, const Whole& whole, const Rest& rest) {
  ensure(block_size > 0 && block_size % 32 == 0, "4-bit block size {} is not a multiple of 32", block_size);
  ensure(n >= 0, "4-bit kernels were given {} values", n);
  const std::int64_t grain = std::max<std::int64_t>(1, kGrainValues / block_size);
  parallel_for(n / block_size, grain, [&](std::int64_t begin, std::int64_t end) { whole(begin, end - begin); });
  if (n % block_size != 0) rest(n / block_size, n % block_size);
}

}  // namespace

const std::array<float, 16>& code4_values(Code4 code) {
  return code == Code4::nf4 ? kNf4 : kFp4;
}
const std::array<float, 15>& code4_midpoints(Code4 code) {
  return code == Code4::nf4 ? kNf4Midpoints : kFp4Midpoints;
}
const std::array<std::uint8_t, 16>& code4_order(Code4 code) {
  return code == Code4::nf4 ? kNf4Order : kFp4Order;
}

void quantize_4bit(Code4 code, const void* source, FloatType type, std::int64_t n, std::int64_t block_size,
                   std::uint8_t* packed, float* absmax) {
  const auto run = [&](const Blockwise4bit& kernel, std::int64_t block, std::int64_t values) {
    const std::int64_t first = block * block_size;
    kernel.quantize(code, element_at(source, type, first), type, values, block_size, packed + first / 2,
                    absmax + block);
  };
  const auto& fast = implementation();
  for_blocks(
      n, block_size, [&](std::int64_t block, std::int64_t blocks) { run(fast, block, blocks * block_size); },
      [&](std::int64_t block, std::int64_t values) { run(kBlockwise4bitReference, block, values); });
}

void dequantize_4bit(Code4 code, const std::uint8_t* packed, const float* absmax, std::int64_t n,
                     std::int64_t block_size, FloatType type, void* out) {
  const auto run = [&](const Blockwise4bit& kernel, std::int64_t block, std::int64_t values) {
    const std::int64_t first = block * block_size;
    kernel.dequantize(code, packed + first / 2, absmax + block, values, block_size, type, element_at(out, type, first));
  };
  const auto& fast = implementation();
  for_blocks(
      n, block_size, [&](std::int64_t block, std::int64_t blocks) { run(fast, block, blocks * block_size); },
      [&](std::int64_t block, std::int64_t values) { run(kBlockwise4bitReference, block, values); });
}

}  // namespace lorica::kernels
