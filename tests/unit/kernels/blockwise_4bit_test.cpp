// 4-bit kernels: every instruction set gives the reference's bytes; the reference gives the documented formulas.
#include "kernels/blockwise_4bit.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.hpp"
#include "base/machine.hpp"
#include "base/random.hpp"
#include "kernels/modes.hpp"

namespace lorica::kernels {
namespace {

std::vector<KernelMode> fast_modes() {
  std::vector<KernelMode> modes;
  if (cpu_features().avx2) modes.push_back(KernelMode::avx2);
  if (cpu_features().avx512) modes.push_back(KernelMode::avx512);
  return modes;
}

std::vector<std::byte> as_type(const std::vector<float>& values, FloatType type) {
  std::vector<std::byte> bytes(values.size() * float_size(type));
  for (std::size_t i = 0; i < values.size(); ++i)
    store_float(bytes.data(), type, static_cast<std::int64_t>(i), values[i]);
  return bytes;
}

struct Quantized {
  std::vector<std::uint8_t> packed;
  std::vector<float> absmax;
};

Quantized quantize(Code4 code, const std::vector<std::byte>& data, FloatType type, std::int64_t n,
                   std::int64_t block_size) {
  Quantized result{std::vector<std::uint8_t>(static_cast<std::size_t>(packed_bytes(n)), 0xEE),
                   std::vector<float>(static_cast<std::size_t>(block_count(n, block_size)), -1.0f)};
  quantize_4bit(code, data.data(), type, n, block_size, result.packed.data(), result.absmax.data());
  return result;
}

/// Normal values, with some of what breaks kernels: zeros of both signs, subnormals, whole blocks of zeros, exact
/// midpoints and code values of a block whose absmax is 1, huge and tiny blocks.
std::vector<float> awkward_values(std::int64_t n, std::uint64_t seed, Code4 code) {
  std::vector<float> values(static_cast<std::size_t>(n));
  const auto key = random_key({seed, 4});
  for (std::int64_t i = 0; i < n; ++i) {
    const auto counter = static_cast<std::uint64_t>(i);
    float x = static_cast<float>(random_normal(key, counter));
    switch (i / 64 % 9) {
      case 1:
        x = random_below(key, counter + 1000000, 4) == 0 ? -0.0f : 0.0f;
        break;
      case 2:
        x *= 1e-42f;
        break;
      case 3:
        x = i % 64 == 5 ? 1.0f : code4_midpoints(code)[counter % 15];
        break;
      case 4:
        x = code4_values(code)[counter % 16];
        break;
      case 5:
        x *= 1e30f;
        break;
      case 6:
        x *= 1e-30f;
        break;
      default:
        break;
    }
    values[static_cast<std::size_t>(i)] = x;
  }
  return values;
}

class Blockwise4bitTest : public testing::TestWithParam<std::tuple<Code4, FloatType, int>> {
 protected:
  ModeGuard guard_;
};

TEST_P(Blockwise4bitTest, InstructionSetsQuantizeAsTheReference) {
  const auto [code, type, block_size] = GetParam();
  for (const std::int64_t n : {1L, 2L, 31L, 63L, 64L, 65L, 4096L, 4097L, 70001L, 300000L}) {
    const auto data = as_type(awkward_values(n, 7, code), type);
    set_kernel_mode(KernelMode::reference);
    const auto expected = quantize(code, data, type, n, block_size);
    for (const auto mode : fast_modes()) {
      set_kernel_mode(mode);
      const auto got = quantize(code, data, type, n, block_size);
      ASSERT_EQ(got.packed, expected.packed) << "n " << n << " " << instruction_set_name(instruction_set());
      ASSERT_EQ(got.absmax, expected.absmax) << "n " << n << " " << instruction_set_name(instruction_set());
    }
  }
}

TEST_P(Blockwise4bitTest, InstructionSetsDequantizeAsTheReference) {
  const auto [code, type, block_size] = GetParam();
  for (const std::int64_t n : {1L, 31L, 64L, 65L, 4097L, 300000L}) {
    std::vector<std::uint8_t> packed(static_cast<std::size_t>(packed_bytes(n)));
    for (std::size_t i = 0; i < packed.size(); ++i) packed[i] = static_cast<std::uint8_t>(random_bits(11, i));
    std::vector<float> absmax(static_cast<std::size_t>(block_count(n, block_size)));
    for (std::size_t i = 0; i < absmax.size(); ++i) {
      const float scales[] = {1.0f, 1e-7f, 3e4f, 1e6f, 1e-40f};  // beyond half's range and below its normals, too
      absmax[i] = scales[i % 5] * static_cast<float>(random_uniform(12, i));
    }
    const auto run = [&](KernelMode mode) {
      set_kernel_mode(mode);
      std::vector<std::byte> out(static_cast<std::size_t>(n) * float_size(type));
      dequantize_4bit(code, packed.data(), absmax.data(), n, block_size, type, out.data());
      return out;
    };
    const auto expected = run(KernelMode::reference);
    for (const auto mode : fast_modes()) {
      const auto got = run(mode);
      ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size()), 0)
          << "n " << n << " " << instruction_set_name(instruction_set());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Blockwise4bitTest,
                         testing::Combine(testing::Values(Code4::nf4, Code4::fp4),
                                          testing::Values(FloatType::f32, FloatType::bf16, FloatType::f16),
                                          testing::Values(32, 64, 128, 1024, 4096)));

TEST(Blockwise4bit, FollowsTheDocumentedFormulas) {
  ModeGuard guard;
  set_kernel_mode(KernelMode::reference);
  // One whole block whose absmax is 2, then a shorter one of three values.
  std::vector<float> values(32, 0.0f);
  values[0] = -2.0f;                                                        // -1 -> 0
  values[1] = 2.0f;                                                         // 1 -> 15
  values[2] = 2.0f * code4_midpoints(Code4::nf4)[9];                        // a tie takes the lower value -> 9
  values[3] = 2.0f * std::nextafter(code4_midpoints(Code4::nf4)[9], 1.0f);  // just above -> 10
  values.insert(values.end(), {0.5f, -0.5f, 0.0f});
  const auto got = quantize(Code4::nf4, as_type(values, FloatType::f32), FloatType::f32, 35, 32);
  EXPECT_EQ(got.absmax, (std::vector<float>{2.0f, 0.5f}));
  EXPECT_EQ(got.packed[0], 0x0F);
  EXPECT_EQ(got.packed[1], 0x9A);
  EXPECT_EQ(got.packed[2], 0x77);
  EXPECT_EQ(got.packed[16], 0xF0);
  EXPECT_EQ(got.packed[17], 0x77);  // 0 and the padding, which is 0 as well
}

TEST(Blockwise4bit, QuantizingItsOwnValuesChangesNothing) {
  const std::int64_t n = 10000;
  for (const auto code : {Code4::nf4, Code4::fp4}) {
    std::vector<float> values(static_cast<std::size_t>(n)), once(values.size()), twice(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random_normal(3, i));
    const auto first = quantize(code, as_type(values, FloatType::f32), FloatType::f32, n, 64);
    dequantize_4bit(code, first.packed.data(), first.absmax.data(), n, 64, FloatType::f32, once.data());
    const auto second = quantize(code, as_type(once, FloatType::f32), FloatType::f32, n, 64);
    dequantize_4bit(code, second.packed.data(), second.absmax.data(), n, 64, FloatType::f32, twice.data());
    EXPECT_EQ(second.absmax, first.absmax);
    EXPECT_EQ(twice, once);  // bytes may differ: FP4 has two zeros
  }
}

TEST(Blockwise4bit, ZerosKeepTheirAbsmaxInWholeBlocksOnly) {
  for (const auto mode : {KernelMode::reference, KernelMode::automatic}) {
    ModeGuard guard;
    set_kernel_mode(mode);
    const auto got =
        quantize(Code4::fp4, as_type(std::vector<float>(96, 0.0f), FloatType::f32), FloatType::f32, 96, 64);
    EXPECT_EQ(got.absmax, (std::vector<float>{0.0f, 1e-38f}));
    EXPECT_EQ(got.packed, std::vector<std::uint8_t>(48, 0x00));
  }
}

TEST(Blockwise4bit, NanShowsInItsAbsmaxAlone) {
  auto modes = fast_modes();
  modes.push_back(KernelMode::reference);
  for (const auto mode : modes) {
    for (const auto type : {FloatType::f32, FloatType::bf16, FloatType::f16}) {
      ModeGuard guard;
      set_kernel_mode(mode);
      std::vector<float> values(192, 1.0f);
      values[70] = std::numeric_limits<float>::quiet_NaN();
      const auto got = quantize(Code4::nf4, as_type(values, type), type, 192, 64);
      EXPECT_EQ(got.absmax[0], 1.0f);
      EXPECT_TRUE(std::isnan(got.absmax[1])) << float_name(type);
      EXPECT_EQ(got.absmax[2], 1.0f);
      EXPECT_EQ(got.packed[40], 0xFF);
    }
  }
}

TEST(Blockwise4bit, RefusesABlockSizeItCannotPack) {
  float x = 0, absmax = 0;
  std::uint8_t packed = 0;
  EXPECT_THROW(quantize_4bit(Code4::nf4, &x, FloatType::f32, 1, 48, &packed, &absmax), Error);
  EXPECT_THROW(dequantize_4bit(Code4::nf4, &packed, &absmax, 1, 0, FloatType::f32, &x), Error);
}

}  // namespace
}  // namespace lorica::kernels
