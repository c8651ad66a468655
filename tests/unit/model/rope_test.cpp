// Rope tables against values worked out in float64 from the papers' formulas; parity with transformers:
// parity/test_rope.py.
#include "model/rope.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/error.hpp"

namespace lorica::model {
namespace {

// A float32 power, a reciprocal and a product: three roundings of 2^-24 each.
constexpr double kTolerance = 4.0 / (1 << 24);

void expect_near(double actual, double expected) {
  EXPECT_NEAR(actual, expected, kTolerance * std::abs(expected));
}

RopeConfig config_of(RopeType type, double factor) {
  RopeConfig config;
  config.type = type;
  config.factor = factor;
  return config;
}

double plain(int i, double dim, double theta = 10000.0) {
  return std::pow(theta, -2.0 * i / dim);
}

TEST(Rope, Default) {
  const auto table = rope_frequencies({}, 16, 2048, 10);
  ASSERT_EQ(table.inverse_frequencies.size(), 8U);
  for (int i = 0; i < 8; ++i) expect_near(table.inverse_frequencies[i], plain(i, 16));
  EXPECT_EQ(table.attention_scaling, 1.0);
}

TEST(Rope, Linear) {
  const auto table = rope_frequencies(config_of(RopeType::linear, 4.0), 16, 2048, 10);
  for (int i = 0; i < 8; ++i) expect_near(table.inverse_frequencies[i], plain(i, 16) / 4.0);
}

TEST(Rope, DynamicGrowsThetaBeyondTheModelsLength) {
  const auto config = config_of(RopeType::dynamic, 2.0);
  EXPECT_EQ(rope_frequencies(config, 16, 128, 128).inverse_frequencies,
            rope_frequencies({}, 16, 128, 0).inverse_frequencies);
  const auto grown = rope_frequencies(config, 16, 128, 512);
  const double theta = 10000.0 * std::pow(2.0 * 512 / 128 - 1.0, 16.0 / 14.0);
  for (int i = 0; i < 8; ++i) expect_near(grown.inverse_frequencies[i], plain(i, 16, theta));
  EXPECT_TRUE(rope_depends_on_length(config));
}

TEST(Rope, YarnInterpolatesSlowDimensionsOnly) {
  auto config = config_of(RopeType::yarn, 8.0);
  config.original_max_positions = 4096;
  const auto table = rope_frequencies(config, 128, 32768, 0);
  expect_near(table.inverse_frequencies.front(), plain(0, 128));
  expect_near(table.inverse_frequencies.back(), plain(63, 128) / 8.0);
  EXPECT_DOUBLE_EQ(table.attention_scaling, 0.1 * std::log(8.0) + 1.0);
  config.attention_factor = 1.5;
  EXPECT_EQ(rope_frequencies(config, 128, 32768, 0).attention_scaling, 1.5);
  config.attention_factor.reset();
  config.mscale = 1.0;
  config.mscale_all_dim = 0.5;
  EXPECT_DOUBLE_EQ(rope_frequencies(config, 128, 32768, 0).attention_scaling,
                   (0.1 * std::log(8.0) + 1.0) / (0.05 * std::log(8.0) + 1.0));
}

TEST(Rope, YarnTakesItsFactorFromTheLengths) {
  RopeConfig config = config_of(RopeType::yarn, 8.0);
  config.original_max_positions = 4096;
  const auto given = rope_frequencies(config, 64, 32768, 0);
  config.factor.reset();
  EXPECT_EQ(rope_frequencies(config, 64, 32768, 0).inverse_frequencies, given.inverse_frequencies);
}

TEST(Rope, Llama3Bands) {
  auto config = config_of(RopeType::llama3, 8.0);
  config.theta = 500000.0;
  config.original_max_positions = 8192;
  const auto table = rope_frequencies(config, 128, 131072, 0);
  int kept = 0, slowed = 0, blended = 0;
  for (int i = 0; i < 64; ++i) {
    const double base = plain(i, 128, 500000.0);
    const double wavelength = 2.0 * std::numbers::pi / base;
    const double smooth = (8192.0 / wavelength - 1.0) / 3.0;
    if (smooth > 1.0) {
      ++kept;
      expect_near(table.inverse_frequencies[i], base);
    } else if (smooth < 0.0) {
      ++slowed;
      expect_near(table.inverse_frequencies[i], base / 8.0);
    } else {
      ++blended;
      EXPECT_NEAR(table.inverse_frequencies[i], (1.0 - smooth) * base / 8.0 + smooth * base, 2e-6 * base);
    }
  }
  EXPECT_TRUE(kept > 0 && slowed > 0 && blended > 0);
}

TEST(Rope, LongropeSwitchesFactors) {
  RopeConfig config;
  config.type = RopeType::longrope;
  config.original_max_positions = 64;
  config.short_factor = {1.0, 1.5, 2.0, 2.5};
  config.long_factor = {3.0, 4.0, 5.0, 6.0};
  const auto near = rope_frequencies(config, 8, 256, 64);
  const auto far = rope_frequencies(config, 8, 256, 65);
  for (int i = 0; i < 4; ++i) {
    expect_near(near.inverse_frequencies[i], plain(i, 8) / config.short_factor[i]);
    expect_near(far.inverse_frequencies[i], plain(i, 8) / config.long_factor[i]);
  }
  EXPECT_DOUBLE_EQ(far.attention_scaling, std::sqrt(1.0 + std::log(4.0) / std::log(64.0)));
  config.long_factor.pop_back();
  EXPECT_THROW(rope_frequencies(config, 8, 256, 65), ModelError);
}

TEST(Rope, RotatesAPartOfAHead) {
  RopeConfig config;
  config.partial_rotary_factor = 0.5;
  const auto table = rope_frequencies(config, 16, 128, 0);
  ASSERT_EQ(table.inverse_frequencies.size(), 4U);
  expect_near(table.inverse_frequencies[1], plain(1, 8));
}

TEST(Rope, RefusesWhatMakesNoTable) {
  EXPECT_THROW(rope_frequencies({}, 15, 128, 0), ModelError);
  EXPECT_THROW(rope_frequencies({}, 0, 128, 0), ModelError);
  RopeConfig config;
  config.type = RopeType::linear;
  EXPECT_THROW(rope_frequencies(config, 16, 128, 0), ModelError);
  EXPECT_THROW(rope_frequencies(config_of(RopeType::dynamic, 2.0), 2, 128, 0), ModelError);
}

TEST(Rope, NamesRoundTrip) {
  for (const auto& name : rope_type_names()) EXPECT_EQ(rope_type_name(*parse_rope_type(name)), name);
  EXPECT_FALSE(parse_rope_type("mrope"));
}

}  // namespace
}  // namespace lorica::model
