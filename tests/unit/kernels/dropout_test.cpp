// Dropout's kernels: every instruction set against the formula written out, bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "kernels/dropout_hash.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/modes.hpp"

namespace lorica::kernels {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kAll = std::uint64_t{1} << 32;

std::uint32_t key_of(std::int64_t row) {
  return static_cast<std::uint32_t>(mix64(static_cast<std::uint64_t>(row)));
}

std::vector<std::uint32_t> keys_of(std::int64_t rows) {
  std::vector<std::uint32_t> keys;
  for (std::int64_t row = 0; row < rows; ++row) keys.push_back(key_of(row));
  return keys;
}

/// Values of either sign, with zeros, subnormal numbers and infinities among them.
Bytes values(FloatType type, std::int64_t count, std::uint64_t seed) {
  Bytes result(float_size(type) * static_cast<std::size_t>(count));
  const float special[] = {0.0f, -0.0f, 1e-40f, -1e-40f, std::numeric_limits<float>::infinity(), 3e38f};
  for (std::int64_t i = 0; i < count; ++i) {
    const auto drawn = static_cast<float>(random_normal(random_key({seed}), static_cast<std::uint64_t>(i)));
    store_float(result.data(), type, i, i % 7 == 3 ? special[i / 7 % 6] : drawn);
  }
  return result;
}

/// y, or y added to `sum`.
Bytes expected(const Bytes& x, const Bytes* sum, const DropoutRule& rule, FloatType type, std::int64_t rows,
               std::int64_t features) {
  Bytes y(x.size());
  for (std::int64_t i = 0; i < rows * features; ++i) {
    const bool keep = dropout_hash(key_of(i / features), i % features) >= rule.limit;
    store_float(y.data(), type, i, keep ? load_float(x.data(), type, i) * rule.scale : 0.0f);
    if (sum) store_float(y.data(), type, i, load_float(sum->data(), type, i) + load_float(y.data(), type, i));
  }
  return y;
}

DropoutRule rule_of(double probability) {
  return {static_cast<std::uint64_t>(std::llround(probability * 4294967296.0)),
          static_cast<float>(1.0 / (1.0 - probability))};
}

void expect_exact(const DropoutRule& rule, FloatType type, std::int64_t rows, std::int64_t features) {
  SCOPED_TRACE(fmt::format("{} {} [{}, {}], limit {}", instruction_set_name(instruction_set()), float_name(type), rows,
                           features, rule.limit));
  const auto x = values(type, rows * features, 1), sum = values(type, rows * features, 2);
  Bytes y(x.size(), std::byte{0x55}), in_place = x, added = sum;
  dropout(x.data(), keys_of(rows), rule, type, rows, features, y.data());
  EXPECT_EQ(y, expected(x, nullptr, rule, type, rows, features));
  dropout(in_place.data(), keys_of(rows), rule, type, rows, features, in_place.data());
  EXPECT_EQ(in_place, y);
  add_dropout(x.data(), keys_of(rows), rule, type, rows, features, added.data());
  EXPECT_EQ(added, expected(x, &sum, rule, type, rows, features));
}

TEST(DropoutKernel, EveryInstructionSetGivesTheFormulasBits) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const auto type : {FloatType::f32, FloatType::bf16}) {
      for (const double probability : {1e-10, 1e-4, 0.1, 0.5, 0.9999, 1 - 1e-9}) {
        for (const std::int64_t features : {1, 7, 8, 15, 16, 33, 77, 896}) {
          expect_exact(rule_of(probability), type, 3, features);
        }
        expect_exact(rule_of(probability), type, 70, 1031);  // several threads
      }
    }
  }
}

/// The hash is a bijection, so a row's first key can be chosen for any hash.
std::uint32_t key_with_hash(std::uint32_t hash) {
  // The inverses of both multipliers modulo 2³², and of the xorshifts.
  const auto inverse = [](std::uint32_t odd) {
    std::uint32_t result = odd;
    for (int i = 0; i < 5; ++i) result *= 2 - odd * result;
    return result;
  };
  std::uint32_t x = hash ^ (hash >> 16);
  x *= inverse(kDropoutMultiply2);
  x ^= (x >> 15) ^ (x >> 30);
  x *= inverse(kDropoutMultiply1);
  return x ^ (x >> 16);
}

// In each lane in turn a hash at the limit and one below, where signed and unsigned comparisons part as well.
TEST(DropoutKernel, ComparesUnsignedAndExactly) {
  const ModeGuard guard;
  const std::vector<float> x(37, 1.0f);
  const auto features = static_cast<std::int64_t>(x.size());
  for (const std::uint32_t hash : {0u, 1u, 0x7FFFFFFFu, 0x80000000u, 0x80000001u, 0xFFFFFFFFu}) {
    ASSERT_EQ(dropout_hash(key_with_hash(hash), 0), hash);
    for (std::int64_t lane = 0; lane < features; ++lane) {
      const std::vector<std::uint32_t> key{key_with_hash(hash) - static_cast<std::uint32_t>(lane) * kDropoutStride};
      for (const auto mode : all_modes()) {
        set_kernel_mode(mode);
        std::vector<float> y(x.size());
        dropout(x.data(), key, {hash, 2.0f}, FloatType::f32, 1, features, y.data());
        EXPECT_EQ(y[static_cast<std::size_t>(lane)], 2.0f) << hash << " in lane " << lane;
        dropout(x.data(), key, {std::uint64_t{hash} + 1, 2.0f}, FloatType::f32, 1, features, y.data());
        EXPECT_EQ(y[static_cast<std::size_t>(lane)], 0.0f) << hash << " in lane " << lane;
      }
    }
  }
}

TEST(DropoutKernel, LimitsOfNothingAndAll) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const auto type : {FloatType::f32, FloatType::bf16}) {
      expect_exact({0, 1.0f}, type, 5, 37);
      expect_exact({kAll - 1, 1e9f}, type, 5, 37);
      expect_exact({kAll, std::numeric_limits<float>::infinity()}, type, 5, 37);
      dropout(nullptr, {}, rule_of(0.5), type, 0, 37, nullptr);
      add_dropout(nullptr, {}, rule_of(0.5), type, 0, 37, nullptr);
    }
  }
}

TEST(DropoutKernel, RefusesWhatItDoesNotKnow) {
  std::vector<std::uint16_t> x(4);
  EXPECT_THROW(dropout(x.data(), keys_of(1), rule_of(0.5), FloatType::f16, 1, 4, x.data()), Error);
  EXPECT_THROW(dropout(x.data(), keys_of(1), {kAll + 1, 1.0f}, FloatType::bf16, 1, 4, x.data()), Error);
  EXPECT_THROW(dropout(x.data(), keys_of(1), rule_of(0.5), FloatType::bf16, 2, 2, x.data()), Error);
}

}  // namespace
}  // namespace lorica::kernels
