// The 8-bit dynamic map and its kernels (tests/parity compares them with bitsandbytes, live).
#include "kernels/blockwise_8bit.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.hpp"

namespace lorica::kernels {
namespace {

TEST(Blockwise8bit, TheMapIsSymmetricButForOne) {
  const auto& map = dynamic_map();
  for (std::size_t i = 1; i < 256; ++i) EXPECT_LT(map[i - 1], map[i]);
  EXPECT_EQ(map[127], 0.0f);
  EXPECT_EQ(map[255], 1.0f);
  for (std::size_t i = 0; i < 127; ++i) EXPECT_EQ(map[i], -map[254 - i]);
  EXPECT_FLOAT_EQ(map[128], 0.55e-6f);  // the mean of 0.1 and 1, at the smallest power
}

TEST(Blockwise8bit, RoundTripStaysWithinHalfAGap) {
  std::vector<float> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random_normal(5, i));
  std::vector<std::uint8_t> codes(values.size());
  std::vector<float> absmax(4), back(values.size());
  quantize_8bit(values.data(), 1000, 256, codes.data(), absmax.data());
  dequantize_8bit(codes.data(), dynamic_map().data(), absmax.data(), 1000, 256, 0.0f, back.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    // The widest gap of the map is 0.9/64; the step table adds at most one step of 2/65535.
    ASSERT_LE(std::fabs(back[i] - values[i]), absmax[i / 256] * (0.9f / 64 / 2 + 2.0f / 65535 + 1e-6f)) << i;
  }
}

TEST(Blockwise8bit, ZerosShortBlocksAndOffset) {
  std::vector<float> values(300, 0.0f);
  values[299] = -3.0f;
  std::vector<std::uint8_t> codes(300, 9);
  std::vector<float> absmax(2), back(300);
  quantize_8bit(values.data(), 300, 256, codes.data(), absmax.data());
  EXPECT_EQ(absmax, (std::vector<float>{0.0f, 3.0f}));
  EXPECT_EQ(codes[0], 0);  // a block of zeros has codes 0, whose value × 0 is 0
  // Zero lies between two steps of the table: the upper one, 1/65535, is taken, whose nearest code is 131.
  EXPECT_EQ(codes[256], 131);
  EXPECT_EQ(codes[299], 0);
  dequantize_8bit(codes.data(), dynamic_map().data(), absmax.data(), 300, 256, 0.25f, back.data());
  EXPECT_EQ(back[0], 0.25f);
  EXPECT_EQ(back[256], dynamic_map()[131] * 3.0f + 0.25f);
  EXPECT_EQ(back[299], dynamic_map()[0] * 3.0f + 0.25f);
}

}  // namespace
}  // namespace lorica::kernels
