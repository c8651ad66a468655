// Conversions between float and the 16-bit types: exhaustive in one direction, by neighbours in the other.
#include "kernels/float_type.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.hpp"

namespace lorica::kernels {
namespace {

TEST(FloatType, EveryHalfIsReadAsItsValue) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const int exponent = static_cast<int>(bits >> 10 & 31);
    const double mantissa = bits & 1023;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(f16_to_float(half)), mantissa != 0);
      continue;
    }
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    ASSERT_EQ(f16_to_float(half), static_cast<float>(bits & 0x8000 ? -magnitude : magnitude)) << bits;
    ASSERT_EQ(float_to_f16(f16_to_float(half)), half) << bits;
  }
}

// Between two neighbours the nearer one is taken, and of two equally near ones the even one.
template <class Widen, class Narrow>
void check_rounding(const Widen& widen, const Narrow& narrow, std::uint32_t largest) {
  for (std::uint32_t bits = 0; bits < largest; ++bits) {
    const float low = widen(static_cast<std::uint16_t>(bits)), high = widen(static_cast<std::uint16_t>(bits + 1));
    const double middle = (static_cast<double>(low) + high) / 2;
    const float tie = static_cast<float>(middle);
    ASSERT_EQ(tie, middle);  // 16-bit neighbours are far apart in float
    ASSERT_EQ(narrow(tie), bits % 2 == 0 ? bits : bits + 1) << bits;
    ASSERT_EQ(narrow(std::nextafter(tie, low)), bits) << bits;
    ASSERT_EQ(narrow(std::nextafter(tie, high)), bits + 1) << bits;
    ASSERT_EQ(narrow(-tie), 0x8000u | (bits % 2 == 0 ? bits : bits + 1)) << bits;
  }
}

TEST(FloatType, HalfRoundsToNearestEven) {
  check_rounding(f16_to_float, float_to_f16, 0x7BFF);
  EXPECT_EQ(float_to_f16(65519.99f), 0x7BFF);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(float_to_f16(-1e30f), 0xFC00);
  EXPECT_EQ(float_to_f16(1e-30f), 0x0000);
  EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(NAN))));
}

TEST(FloatType, Bfloat16RoundsToNearestEven) {
  check_rounding(bf16_to_float, float_to_bf16, 0x7F7F);
  EXPECT_EQ(float_to_bf16(3.4e38f), 0x7F80);
  EXPECT_EQ(float_to_bf16(-INFINITY), 0xFF80);
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(NAN))));
}

}  // namespace
}  // namespace lorica::kernels
