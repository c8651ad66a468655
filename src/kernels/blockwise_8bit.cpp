// The dynamic map and the 8-bit kernels. One portable version: they see one value for each 4-bit block only.
#include "kernels/blockwise_8bit.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.hpp"
#include "base/parallel.hpp"

namespace lorica::kernels {
namespace {

constexpr std::int64_t kGrainValues = 1 << 14;
constexpr std::int64_t kSteps = 1 << 16;

/// linspace(0.1, 1, points) as PyTorch's vectorized kernel rounds it: from both ends, with fused multiply-add (which
/// double arithmetic gives here exactly: 24 + 7 bits).
std::vector<float> boundaries(int points) {
  const float first = 0.1f, step = (1.0f - first) / static_cast<float>(points - 1);
  std::vector<float> result;
  for (int i = 0; i < points; ++i) {
    const double exact = i < points / 2 ? static_cast<double>(first) + static_cast<double>(step) * i
                                        : 1.0 - static_cast<double>(step) * (points - 1 - i);
    result.push_back(static_cast<float>(exact));
  }
  return result;
}

std::array<float, 256> make_dynamic_map() {
  constexpr float kPowers[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  std::vector<float> values = {0.0f, 1.0f};
  for (int exponent = 0; exponent < 7; ++exponent) {
    const auto bounds = boundaries((1 << exponent) + 1);
    for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
      const float mean = (bounds[i] + bounds[i + 1]) / 2.0f;
      values.push_back(kPowers[exponent] * mean);
      values.push_back(-kPowers[exponent] * mean);
    }
  }
  std::sort(values.begin(), values.end());
  ensure(values.size() == 256, "the dynamic map has {} entries", values.size());
  std::array<float, 256> map;
  std::copy(values.begin(), values.end(), map.begin());
  return map;
}

std::vector<std::uint8_t> make_step_codes() {
  const auto& map = dynamic_map();
  std::vector<std::uint8_t> codes(kSteps);
  std::size_t code = 0;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    const float twice = static_cast<float>(step) + static_cast<float>(step);
    const float position = twice / 65535.0f - 1.0f;
    while (code < 255 && position > (map[code] + map[code + 1]) * 0.5f) ++code;
    codes[static_cast<std::size_t>(step)] = static_cast<std::uint8_t>(code);
  }
  return codes;
}

void quantize_block(const float* source, std::int64_t n, std::uint8_t* out, float& absmax,
                    const std::vector<std::uint8_t>& step_codes) {
  absmax = 0;
  for (std::int64_t i = 0; i < n; ++i) absmax = std::max(absmax, std::fabs(source[i]));
  if (absmax == 0) {
    std::fill(out, out + n, std::uint8_t{0});
    return;
  }
  const float factor = 1.0f / absmax;
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = std::clamp(source[i] * factor, -1.0f, 1.0f);
    const float half = (v + 1.0f) * 0.5f;
    // A fused multiply-add: the double sum is exact (half is a multiple of 2⁻²⁵), the conversion rounds once. A value
    // that is not a number (0 × infinity, when absmax is subnormal) takes step 0.
    const float step = static_cast<float>(static_cast<double>(half) * 65535.0 + 0.5);
    out[i] = step_codes[std::isnan(step) ? 0 : static_cast<std::size_t>(step) & 0xFFFFu];
  }
}

}  // namespace

const std::array<float, 256>& dynamic_map() {
  static const auto map = make_dynamic_map();
  return map;
}

void quantize_8bit(const float* source, std::int64_t n, std::int64_t block_size, std::uint8_t* out, float* absmax) {
  ensure(block_size > 0, "8-bit block size {}", block_size);
  static const auto step_codes = make_step_codes();
  const std::int64_t blocks = (n + block_size - 1) / block_size;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrainValues / block_size);
  parallel_for(blocks, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t first = block * block_size;
      quantize_block(source + first, std::min(block_size, n - first), out + first, absmax[block], step_codes);
    }
  });
}

void dequantize_8bit(const std::uint8_t* codes, const float* map, const float* absmax, std::int64_t n,
                     std::int64_t block_size, float offset, float* out) {
  ensure(block_size > 0, "8-bit block size {}", block_size);
  const std::int64_t blocks = (n + block_size - 1) / block_size;
  const std::int64_t grain = std::max<std::int64_t>(1, kGrainValues / block_size);
  parallel_for(blocks, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t last = std::min(n, (block + 1) * block_size);
      for (std::int64_t i = block * block_size; i < last; ++i) out[i] = map[codes[i]] * absmax[block] + offset;
    }
  });
}

}  // namespace lorica::kernels
