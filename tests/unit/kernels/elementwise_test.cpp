// Element-wise kernels: every instruction set against the formulas in float64; gradients against finite differences of
// those; any number of rows at once equals row by row; outputs in place.
#include "kernels/elementwise.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "kernels/modes.hpp"

namespace lorica::kernels {
namespace {

using Values = std::vector<double>;

/// An array of `type`; read and written through double.
class Array {
 public:
  Array(FloatType type, std::int64_t count)
      : type_(type), count_(count), bytes_(float_size(type) * static_cast<std::size_t>(count)) {}
  Array(FloatType type, std::int64_t count, std::uint64_t seed, double scale) : Array(type, count) {
    for (std::int64_t i = 0; i < count; ++i) {
      set(i, scale * random_normal(random_key({seed, 17}), static_cast<std::uint64_t>(i)));
    }
  }
  void* data() { return bytes_.data(); }
  const void* data() const { return bytes_.data(); }
  std::int64_t size() const { return count_; }
  void set(std::int64_t i, double value) { store_float(bytes_.data(), type_, i, static_cast<float>(value)); }
  double operator[](std::int64_t i) const { return load_float(bytes_.data(), type_, i); }
  Values values() const {
    Values all;
    for (std::int64_t i = 0; i < count_; ++i) all.push_back((*this)[i]);
    return all;
  }

 private:
  FloatType type_;
  std::int64_t count_;
  std::vector<std::byte> bytes_;
};

/// Half a unit in the last place of the stored type, relative.
double epsilon(FloatType type) {
  return type == FloatType::f32 ? 0x1p-24 : 0x1p-8;
}

/// `scale` is the largest magnitude among the terms that a result is made of, `roundings` how many operations deep.
void expect_near(const Values& expected, const Array& actual, double scale, double tolerance, const char* what) {
  ASSERT_EQ(static_cast<std::int64_t>(expected.size()), actual.size());
  for (std::int64_t i = 0; i < actual.size(); ++i) {
    const double want = expected[static_cast<std::size_t>(i)];
    ASSERT_NEAR(want, actual[i], tolerance * std::max(scale, std::fabs(want))) << what << " at " << i;
  }
}

struct Case {
  FloatType type;
  std::int64_t rows, features;
};
const std::vector<Case> kCases = {{FloatType::f32, 7, 1},   {FloatType::f32, 5, 37},  {FloatType::f32, 70, 896},
                                  {FloatType::bf16, 5, 37}, {FloatType::bf16, 9, 64}, {FloatType::bf16, 70, 896}};

void for_each_mode_and_case(const std::function<void(const Case&)>& body) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const auto& c : kCases) {
      SCOPED_TRACE(fmt::format("{} {} [{}, {}]", instruction_set_name(instruction_set()), float_name(c.type), c.rows,
                               c.features));
      body(c);
    }
  }
}

constexpr float kEps = 1e-6f;

double row_inverse_rms(const Array& x, std::int64_t row, std::int64_t features) {
  double squares = 0;
  for (std::int64_t i = 0; i < features; ++i) squares += x[row * features + i] * x[row * features + i];
  return 1 / std::sqrt(squares / static_cast<double>(features) + kEps);
}

TEST(Elementwise, RmsNorm) {
  for_each_mode_and_case([](const Case& c) {
    const Array x(c.type, c.rows * c.features, 1, 3);
    const Array weight(FloatType::f32, c.features, 2, 1);
    Array y(c.type, x.size());
    rms_norm(x.data(), static_cast<const float*>(weight.data()), c.type, c.rows, c.features, kEps, y.data());
    Values expected;
    for (std::int64_t i = 0; i < x.size(); ++i)
      expected.push_back(x[i] * row_inverse_rms(x, i / c.features, c.features) * weight[i % c.features]);
    // r: the sum of squares loses at most features / width roundings, half of that through the root; then two roundings
    // of the stored type and two of float32. All are relative to the result itself.
    const double depth = static_cast<double>(c.features) / 2 + 6;
    const double tolerance = c.type == FloatType::f32 ? depth * 0x1p-24 : 2.5 * epsilon(c.type);
    expect_near(expected, y, 1e-30, tolerance, "y");
  });
}

TEST(Elementwise, RmsNormRoundsBeforeTheWeight) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    Array x(FloatType::bf16, 32), y(FloatType::bf16, 32);
    for (std::int64_t i = 0; i < 32; ++i) x.set(i, i % 2 ? 1.0 : 3.0);
    const std::vector<float> weight(32, 1.7f);
    rms_norm(x.data(), weight.data(), FloatType::bf16, 1, 32, 0.0f, y.data());
    const float n = bf16_to_float(float_to_bf16(3.0f / std::sqrt(5.0f)));
    ASSERT_EQ(static_cast<double>(bf16_to_float(float_to_bf16(n * 1.7f))), y[0])
        << instruction_set_name(instruction_set());
  }
}

// Gemma's way, with a weight for which the two differ in the last digit.
TEST(Elementwise, RmsNormRoundsOnce) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    Array x(FloatType::bf16, 32), y(FloatType::bf16, 32);
    for (std::int64_t i = 0; i < 32; ++i) x.set(i, i % 2 ? 1.0 : 3.0);
    const float n = 3.0f / std::sqrt(5.0f);
    int differing = 0;
    for (const float factor : {1.7f, 1.3f, 0.9f, 1.1f}) {
      const std::vector<float> weight(32, factor);
      rms_norm(x.data(), weight.data(), FloatType::bf16, 1, 32, {0.0f, false}, y.data());
      const auto once = bf16_to_float(float_to_bf16(n * factor));
      ASSERT_EQ(static_cast<double>(once), y[0]) << instruction_set_name(instruction_set());
      differing += once != bf16_to_float(float_to_bf16(bf16_to_float(float_to_bf16(n)) * factor));
    }
    ASSERT_GT(differing, 0);
  }
}

TEST(Elementwise, RmsNormBackward) {
  for_each_mode_and_case([](const Case& c) {
    const Array x(c.type, c.rows * c.features, 1, 3), dy(c.type, c.rows * c.features, 3, 1);
    const Array weight(FloatType::f32, c.features, 2, 1);
    Array dx(c.type, x.size()), dweight(FloatType::f32, c.features);
    const auto* w = static_cast<const float*>(weight.data());
    rms_norm_backward(x.data(), w, dy.data(), nullptr, c.type, c.rows, c.features, kEps, dx.data(),
                      static_cast<float*>(dweight.data()));
    Values expected(static_cast<std::size_t>(x.size())), expected_weight(static_cast<std::size_t>(c.features));
    double scale = 0;
    for (std::int64_t row = 0; row < c.rows; ++row) {
      const double r = row_inverse_rms(x, row, c.features);
      double mean = 0;
      for (std::int64_t i = 0; i < c.features; ++i) {
        const auto at = row * c.features + i;
        mean += dy[at] * weight[i] * x[at] * r / static_cast<double>(c.features);
        expected_weight[static_cast<std::size_t>(i)] += dy[at] * x[at] * r;
      }
      for (std::int64_t i = 0; i < c.features; ++i) {
        const auto at = row * c.features + i;
        expected[static_cast<std::size_t>(at)] = r * (dy[at] * weight[i] - x[at] * r * mean);
        scale = std::max({scale, std::fabs(r * dy[at] * weight[i]), std::fabs(r * x[at] * r * mean)});
      }
    }
    // Sums of up to `features` and `rows` terms, each within the scale of its terms (normal values: below 5 × 5).
    const double depth = static_cast<double>(c.features + 10);
    expect_near(expected, dx, scale, depth * 0x1p-24 + (c.type == FloatType::f32 ? 0 : epsilon(c.type)), "dx");
    expect_near(expected_weight, dweight, 25, static_cast<double>(c.rows + c.features / 2 + 4) * 0x1p-24, "dweight");
    Array only_dx(c.type, x.size());
    rms_norm_backward(x.data(), w, dy.data(), nullptr, c.type, c.rows, c.features, kEps, only_dx.data(), nullptr);
    ASSERT_EQ(dx.values(), only_dx.values());
    Array only_dweight(FloatType::f32, c.features);
    rms_norm_backward(x.data(), w, dy.data(), nullptr, c.type, c.rows, c.features, kEps, nullptr,
                      static_cast<float*>(only_dweight.data()));
    ASSERT_EQ(dweight.values(), only_dweight.values());
  });
}

TEST(Elementwise, RmsNormOfASumAndItsGradient) {
  for_each_mode_and_case([](const Case& c) {
    const std::int64_t size = c.rows * c.features;
    const Array x(c.type, size, 1, 3), change(c.type, size, 4, 1), dy(c.type, size, 3, 1), dsum(c.type, size, 5, 2);
    const Array weight(FloatType::f32, c.features, 2, 1);
    const auto* w = static_cast<const float*>(weight.data());
    Array sum(c.type, size), y(c.type, size), alone(c.type, size), norm(c.type, size);
    add_rms_norm(x.data(), change.data(), w, c.type, c.rows, c.features, kEps, sum.data(), y.data());
    Values expected;
    for (std::int64_t i = 0; i < size; ++i) expected.push_back(x[i] + change[i]);
    expect_near(expected, sum, 1e-30, epsilon(c.type), "sum");
    rms_norm(sum.data(), w, c.type, c.rows, c.features, kEps, norm.data());
    ASSERT_EQ(y.values(), norm.values());
    add_rms_norm(x.data(), change.data(), nullptr, c.type, c.rows, c.features, kEps, alone.data(), nullptr);
    ASSERT_EQ(sum.values(), alone.values());

    Array through(c.type, size), both(c.type, size);
    rms_norm_backward(sum.data(), w, dy.data(), nullptr, c.type, c.rows, c.features, kEps, through.data(), nullptr);
    rms_norm_backward(sum.data(), w, dy.data(), dsum.data(), c.type, c.rows, c.features, kEps, both.data(), nullptr);
    for (std::int64_t i = 0; i < size; ++i) {
      const double want = through[i] + dsum[i];
      ASSERT_NEAR(want, both[i], 2 * epsilon(c.type) * (std::fabs(want) + std::fabs(through[i])));
    }
  });
}

double sigmoid64(double x) {
  return 1 / (1 + std::exp(-x));
}

/// f and its slope in float64, from their definitions.
double gate64(Gate f, double x) {
  if (f == Gate::silu) return x * sigmoid64(x);
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double slope64(Gate f, double x) {
  const double s = f == Gate::silu ? sigmoid64(x) : sigmoid64(2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
  const double inner = f == Gate::silu ? 1 : 2 * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
  return s * (1 + x * (1 - s) * inner);
}

constexpr Gate kGates[] = {Gate::silu, Gate::gelu_tanh};

TEST(Elementwise, Gated) {
  for_each_mode_and_case([](const Case& c) {
    const std::int64_t size = c.rows * c.features;
    for (const auto f : kGates) {
      for (const auto kept : {FloatType::f32, FloatType::bf16}) {  // what the input is stored as
        const Array gate(kept, size, 5, 4), up(kept, size, 4, 4), dy(c.type, size, 6, 1);
        const GatedInput in{gate.data(), up.data(), kept};
        Array y(c.type, size), dgate(c.type, size), dup(c.type, size);
        gated(in, f, c.rows, c.features, c.type, y.data());
        gated_backward(in, f, dy.data(), c.type, c.rows, c.features, {dgate.data(), dup.data()});
        Values expected, expected_gate, expected_up;
        for (std::int64_t i = 0; i < size; ++i) {
          expected.push_back(gate64(f, gate[i]) * up[i]);
          expected_gate.push_back(dy[i] * up[i] * slope64(f, gate[i]));
          expected_up.push_back(dy[i] * gate64(f, gate[i]));
        }
        // e^x is good to 2 units; six more roundings, one of which (1 + g(1 − s)) may cancel: |g| ≤ 20, so 20 units of
        // s. GELU's exponent is a cubic: it is off by 4 roundings of its size, and where s · g matters, below 30.
        const double exponent = f == Gate::silu ? 0 : 120 * 0x1p-24;
        const double tolerance = 10 * 0x1p-24 + exponent + (c.type == FloatType::f32 ? 0 : epsilon(c.type));
        expect_near(expected, y, f == Gate::silu ? 1e-30 : 1e-6, tolerance, "y");
        expect_near(expected_gate, dgate, 5.0, tolerance + 20 * 0x1p-24, "dgate");
        expect_near(expected_up, dup, 5.0, tolerance + 20 * 0x1p-24, "dup");
      }
    }
  });
}

// Both halves of a fused product, and the gradients into one: the same bits as of separate arrays.
TEST(Elementwise, GatedHalvesOfOneArray) {
  for_each_mode_and_case([](const Case& c) {
    const std::int64_t size = c.rows * c.features;
    const Array both(c.type, 2 * size, 5, 4), dy(c.type, size, 6, 1);
    Array gate(c.type, size), up(c.type, size);
    for (std::int64_t i = 0; i < size; ++i) {
      const auto at = i / c.features * 2 * c.features + i % c.features;
      gate.set(i, both[at]), up.set(i, both[at + c.features]);
    }
    Array y(c.type, size), dgate(c.type, size), dup(c.type, size), fused(c.type, size), gradient(c.type, 2 * size);
    for (const auto f : kGates) {
      gated({gate.data(), up.data(), c.type}, f, c.rows, c.features, c.type, y.data());
      gated_backward({gate.data(), up.data(), c.type}, f, dy.data(), c.type, c.rows, c.features,
                     {dgate.data(), dup.data()});
      const GatedInput halves{both.data(), element_at(both.data(), c.type, c.features), c.type, 2 * c.features};
      gated(halves, f, c.rows, c.features, c.type, fused.data());
      gated_backward(halves, f, dy.data(), c.type, c.rows, c.features,
                     {gradient.data(), element_at(gradient.data(), c.type, c.features), 2 * c.features});
      // Lanes and tails fall elsewhere: one rounding of the result apart where an exponential differs.
      const double apart = 8 * 0x1p-24 + (c.type == FloatType::f32 ? 0 : 2 * epsilon(c.type));
      expect_near(y.values(), fused, 1.0, apart, "y");
      for (std::int64_t i = 0; i < size; ++i) {
        const auto at = i / c.features * 2 * c.features + i % c.features;
        ASSERT_NEAR(dgate[i], gradient[at], apart * (20 + std::fabs(dgate[i])));
        ASSERT_NEAR(dup[i], gradient[at + c.features], apart * (1 + std::fabs(dup[i])));
      }
    }
  });
}

TEST(Elementwise, GatedKeepsItsInputRounded) {
  for_each_mode_and_case([](const Case& c) {
    const std::int64_t size = c.rows * c.features;
    const Array gate(c.type, size, 5, 4), up(c.type, size, 4, 4);
    Array y(c.type, size), alone(c.type, size);
    std::vector<std::uint16_t> kept_gate(static_cast<std::size_t>(size)), kept_up(kept_gate);
    const GatedInput in{gate.data(), up.data(), c.type};
    gated(in, Gate::silu, c.rows, c.features, c.type, y.data(), kept_gate.data(), kept_up.data());
    gated(in, Gate::silu, c.rows, c.features, c.type, alone.data());
    ASSERT_EQ(y.values(), alone.values());
    for (std::int64_t i = 0; i < size; ++i) {
      const auto at = static_cast<std::size_t>(i);
      ASSERT_EQ(kept_gate[at], float_to_bf16(static_cast<float>(gate[i])));
      ASSERT_EQ(kept_up[at], float_to_bf16(static_cast<float>(up[i])));
    }
  });
}

TEST(Elementwise, GatedGradientIsTheSlope) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const auto f : kGates) {
      const Array gate(FloatType::f32, 40, 1, 2), up(FloatType::f32, 40, 2, 1);
      const std::vector<float> ones(40, 1.0f);
      Array dgate(FloatType::f32, 40), dup(FloatType::f32, 40);
      gated_backward({gate.data(), up.data(), FloatType::f32}, f, ones.data(), FloatType::f32, 1, 40,
                     {dgate.data(), dup.data()});
      for (std::int64_t i = 0; i < 40; ++i) {
        const auto value = [&](double g) { return gate64(f, g) * up[i]; };
        // Central difference in float64: error h²/6 · |f'''| < 1e-8.
        ASSERT_NEAR((value(gate[i] + 1e-4) - value(gate[i] - 1e-4)) / 2e-4, dgate[i], 3e-6);
      }
    }
  }
}

TEST(Elementwise, GatedOfExtremes) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    Array gate(FloatType::f32, 16), y(FloatType::f32, 16);
    const Values gates = {-1000, -100, -88, -50, 0, 50, 88, 100, 1000, 1e30, -1e30, nan, 1e-30, -1e-30, 17, -17};
    for (std::size_t i = 0; i < 16; ++i) gate.set(static_cast<std::int64_t>(i), gates[i]);
    const std::vector<float> up(16, 1.0f);
    gated({gate.data(), up.data(), FloatType::f32}, Gate::silu, 1, 16, FloatType::f32, y.data());
    for (std::int64_t i = 0; i < 16; ++i) {
      const double g = gate[i];
      if (std::isnan(g)) {
        EXPECT_TRUE(std::isnan(y[i]));
      } else {
        // Clamping the exponent at 87.3 leaves sigmoid at 1.2e-38 where it should be smaller.
        EXPECT_NEAR(g * sigmoid64(g), y[i], 1e-6 * std::fabs(g * sigmoid64(g)) + 1.3e-38 * std::fabs(g)) << g;
      }
    }
  }
}

TEST(Elementwise, Rotary) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const auto type : {FloatType::f32, FloatType::bf16}) {
      for (const auto& [head_size, rotary_size] :
           std::vector<std::pair<int, int>>{{64, 64}, {80, 32}, {6, 6}, {8, 0}}) {
        const RotaryShape shape{11, 3, head_size, rotary_size, 3 * head_size + 5};
        const std::int64_t half = rotary_size / 2;
        const Array x(type, shape.tokens * shape.stride, 7, 1);
        Array cosine(FloatType::f32, 11 * half), sine(FloatType::f32, 11 * half), y(type, x.size());
        for (std::int64_t i = 0; i < 11 * half; ++i) {
          cosine.set(i, std::cos(0.37 * static_cast<double>(i))), sine.set(i, std::sin(0.37 * static_cast<double>(i)));
        }
        const auto *c = static_cast<const float*>(cosine.data()), *s = static_cast<const float*>(sine.data());
        rotary(x.data(), c, s, type, shape, false, y.data());
        // Three roundings of float32 and one of the stored type, of values below 8.
        const double tolerance = 8 * (3 * 0x1p-24 + epsilon(type));
        for (std::int64_t i = 0; i < x.size(); ++i) {
          const std::int64_t token = i / shape.stride, in_token = i % shape.stride, k = in_token % head_size;
          if (in_token >= 3 * head_size) continue;
          double want = x[i];
          if (k < half) want = x[i] * cosine[token * half + k] - x[i + half] * sine[token * half + k];
          if (k >= half && k < 2 * half) {
            want = x[i] * cosine[token * half + k - half] + x[i - half] * sine[token * half + k - half];
          }
          ASSERT_NEAR(want, y[i], tolerance) << i;
        }
        rotary(y.data(), c, s, type, shape, true, y.data());  // in place, and back
        for (std::int64_t i = 0; i < x.size(); ++i) {
          if (i % shape.stride < 3 * head_size) {
            ASSERT_NEAR(x[i], y[i], 3 * tolerance);
          }
        }
      }
    }
  }
}

TEST(Elementwise, ManyRowsEqualRowByRow) {
  for_each_mode_and_case([](const Case& c) {
    const Array x(c.type, c.rows * c.features, 1, 3);
    const std::vector<float> weight(static_cast<std::size_t>(c.features), 1.25f);
    Array whole(c.type, x.size()), pieces(c.type, x.size());
    rms_norm(x.data(), weight.data(), c.type, c.rows, c.features, kEps, whole.data());
    for (std::int64_t row = 0; row < c.rows; ++row) {
      const auto at = row * c.features;
      rms_norm(element_at(x.data(), c.type, at), weight.data(), c.type, 1, c.features, kEps,
               element_at(pieces.data(), c.type, at));
    }
    ASSERT_EQ(whole.values(), pieces.values());
  });
}

TEST(Elementwise, RefusesWhatItCannotDo) {
  std::vector<float> a(64), b(64), c(64);
  EXPECT_THROW(rms_norm(a.data(), b.data(), FloatType::f16, 1, 8, kEps, c.data()), Error);
  EXPECT_THROW(gated({a.data(), b.data(), FloatType::f16}, Gate::silu, 2, 8, FloatType::f32, c.data()), Error);
  EXPECT_THROW(gated({a.data(), b.data(), FloatType::f32}, Gate::silu, 2, 8, FloatType::f16, c.data()), Error);
  EXPECT_THROW(gated({a.data(), b.data(), FloatType::f32, 7}, Gate::silu, 2, 8, FloatType::f32, c.data()), Error);
  EXPECT_THROW(rotary(a.data(), b.data(), b.data(), FloatType::f32, {1, 1, 8, 3, 8}, false, c.data()), Error);
  EXPECT_THROW(rotary(a.data(), b.data(), b.data(), FloatType::f32, {2, 2, 8, 8, 15}, false, c.data()), Error);
}

TEST(Elementwise, CrossEntropy) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const std::int64_t classes : {1, 2, 33, 1000, 9001}) {
      for (const double scale : {1.0, 60.0}) {  // 60: most exponentials are nothing beside the largest
        SCOPED_TRACE(fmt::format("{}, {} classes, scale {}", instruction_set_name(instruction_set()), classes, scale));
        const std::int64_t rows = 5;
        const Array logits(FloatType::f32, rows * classes, 3, scale);
        std::vector<float> values(static_cast<std::size_t>(rows * classes));
        std::vector<std::int64_t> labels;
        for (std::size_t i = 0; i < values.size(); ++i) {
          values[i] = static_cast<float>(logits[static_cast<std::int64_t>(i)]);
        }
        double expected = 0, size = 0;
        Values gradient;
        for (std::int64_t row = 0; row < rows; ++row) {
          labels.push_back((row * 7919) % classes);
          double top = logits[row * classes], sum = 0;
          for (std::int64_t i = 0; i < classes; ++i) top = std::max(top, logits[row * classes + i]);
          for (std::int64_t i = 0; i < classes; ++i) sum += std::exp(logits[row * classes + i] - top);
          const double loss = std::log(sum) + top - logits[row * classes + labels.back()];
          expected += loss, size += std::fabs(loss) + std::fabs(top);
          for (std::int64_t i = 0; i < classes; ++i) {
            gradient.push_back(std::exp(logits[row * classes + i] - top) / sum - (i == labels.back() ? 1 : 0));
          }
        }
        auto copy = values;
        // Without a gradient and with one, the loss is the same.
        const double loss = cross_entropy(values.data(), labels.data(), rows, classes, true);
        EXPECT_EQ(loss, cross_entropy(copy.data(), labels.data(), rows, classes, false));
        // A float32 sum of up to 4,096 exponentials, each within 2 units: 1e-6 of its size is generous.
        EXPECT_NEAR(expected, loss, 1e-6 * size + 1e-6);
        for (std::size_t i = 0; i < gradient.size(); ++i) ASSERT_NEAR(gradient[i], values[i], 2e-6) << i;
      }
    }
  }
}

TEST(Elementwise, CrossEntropyIsNotFiniteWhereALogitIsNot) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    std::vector<float> logits(100, 1.0f);
    logits[37] = bad;
    const std::int64_t label = 5;
    EXPECT_FALSE(std::isfinite(cross_entropy(logits.data(), &label, 1, 100, true)));
  }
  std::vector<float> logits(4);
  const std::int64_t label = 4;
  EXPECT_THROW(cross_entropy(logits.data(), &label, 1, 4, false), Error);
}

}  // namespace
}  // namespace lorica::kernels
