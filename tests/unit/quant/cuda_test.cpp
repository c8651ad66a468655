// The CUDA kernel against the ATen composition, on the device. Skips itself where there is none.
#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <gtest/gtest.h>

#include "quant/composed.hpp"
#include "quant/cuda/dequantize.hpp"
#include "quant/weight.hpp"

namespace lorica::quant {
namespace {

/// Why there is nothing to test here; "" if there is.
std::string missing() {
  if (!at::hasCUDA()) return "this build has no CUDA";
  return at::detail::getCUDAHooks().deviceCount() > 0 ? "" : "no CUDA device";
}

using Parameters = std::tuple<kernels::Code4, at::ScalarType, int>;
class CudaDequantize : public testing::TestWithParam<Parameters> {};

// Both multiply in float32 and round once, so they agree bit for bit.
TEST_P(CudaDequantize, EqualsTheComposition) {
  if (const auto reason = missing(); !reason.empty()) GTEST_SKIP() << reason;
  const auto [code, dtype, block_size] = GetParam();
  // Whole words and blocks; a last block that is short; odd counts; fewer values than a word.
  for (const std::int64_t n : {4096L * 64, 33L * 4097, 64L * 3 + 8, 71L, 5L, 1L}) {
    auto generator = at::detail::createCPUGenerator(7);
    const auto values = at::normal(0.0, 0.05, {n}, generator);
    const auto [packed, absmax] = quantize_4bit_composed(code, values, block_size);
    const auto on_device = packed.to(at::kCUDA), scales = absmax.to(at::kCUDA);
    const auto expected = dequantize_4bit_composed(code, packed, absmax, n, block_size, dtype);
    ASSERT_TRUE(cuda::has_kernel(on_device));
    EXPECT_TRUE(cuda::dequantize_4bit(code, on_device, scales, n, block_size, dtype).cpu().equal(expected)) << n;
    // At an odd address, as within a shard.
    auto shifted = at::empty({packed.numel() + 1}, on_device.options()).narrow(0, 1, packed.numel());
    shifted.copy_(on_device);
    EXPECT_TRUE(cuda::dequantize_4bit(code, shifted, scales, n, block_size, dtype).cpu().equal(expected)) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaDequantize,
                         testing::Combine(testing::Values(kernels::Code4::nf4, kernels::Code4::fp4),
                                          testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                                          testing::Values(32, 64, 4096)));

TEST(CudaWeight, IsStoredAndReadBackAsOnTheCpu) {
  if (const auto reason = missing(); !reason.empty()) GTEST_SKIP() << reason;
  auto generator = at::detail::createCPUGenerator(7);
  const auto values = at::normal(0.0, 0.05, {96, 80}, generator);
  const WeightFormat format{"nf4", at::kFloat, 64, true};
  const auto here = store(values, format), there = here.to(at::kCUDA);
  // The scales go through 8 bits: code × nested absmax + offset, each rounded alike.
  EXPECT_TRUE(at::allclose(dequantize(there, at::kFloat).cpu(), dequantize(here, at::kFloat), 1e-6, 1e-8));
}

}  // namespace
}  // namespace lorica::quant
