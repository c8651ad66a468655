// Attention: every instruction set against the softmax written out in float64, and its gradients against the formulas
// in float64; the same bits for any number of threads and whatever else is in the batch; strides; windows; caches.
#include "kernels/attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "base/random.hpp"
#include "kernels/modes.hpp"

namespace lorica::kernels {
namespace {

using Offsets = std::vector<std::int64_t>;

/// [tokens, width] of `type`, `gap` unused elements behind each row, which hold a marker.
struct Rows {
  Rows(FloatType type, std::int64_t tokens, std::int64_t width, std::int64_t gap)
      : type(type),
        tokens(tokens),
        width(width),
        stride(width + gap),
        bytes(float_size(type) * static_cast<std::size_t>(tokens * stride)) {
    for (std::int64_t i = 0; i < tokens * stride; ++i) store_float(bytes.data(), type, i, kMarker);
  }
  Rows& fill(std::uint64_t seed, double scale = 1) {
    for (std::int64_t i = 0; i < tokens * width; ++i) {
      const double value = scale * random_normal(random_key({seed, 23}), static_cast<std::uint64_t>(i));
      store_float(bytes.data(), type, i / width * stride + i % width, static_cast<float>(value));
    }
    return *this;
  }
  double operator()(std::int64_t token, std::int64_t i) const {
    return load_float(bytes.data(), type, token * stride + i);
  }
  void* data() { return bytes.data(); }
  const void* data() const { return bytes.data(); }
  const void* from(std::int64_t token) const { return element_at(bytes.data(), type, token * stride); }
  bool gaps_untouched() const {
    for (std::int64_t i = 0; i < tokens * stride; ++i) {
      if (i % stride >= width && load_float(bytes.data(), type, i) != kMarker) return false;
    }
    return true;
  }

  static constexpr float kMarker = 12288.0f;  // exact in bfloat16
  FloatType type;
  std::int64_t tokens, width, stride;
  std::vector<std::byte> bytes;
};

struct Case {
  FloatType type;
  Offsets offsets;
  std::int64_t kv_heads, group, size, window;
  std::int64_t gap = 0;
  float scale = 0;
  float softcap = 0;
};

std::string name(const Case& c) {
  return fmt::format("{}, {}, offsets {}, {} × {} heads of {}, window {}, gap {}, cap {}",
                     instruction_set_name(instruction_set()), float_name(c.type), fmt::join(c.offsets, " "), c.kv_heads,
                     c.group, c.size, c.window, c.gap, c.softcap);
}

struct Inputs {
  explicit Inputs(const Case& c)
      : q(c.type, c.offsets.back(), c.kv_heads * c.group * c.size, c.gap),
        k(c.type, c.offsets.back(), c.kv_heads * c.size, 2 * c.gap),
        v(c.type, c.offsets.back(), c.kv_heads * c.size, 3 * c.gap),
        dout(c.type, c.offsets.back(), q.width, 0) {
    q.fill(1, 1.5), k.fill(2, 1.5), v.fill(3), dout.fill(4);
  }
  Rows q, k, v, dout;
};

AttentionShape shape_of(const Case& c, const Inputs& in) {
  AttentionShape shape;
  shape.offsets = c.offsets;
  shape.heads = c.kv_heads * c.group, shape.kv_heads = c.kv_heads, shape.head_size = c.size;
  shape.q_stride = in.q.stride, shape.k_stride = in.k.stride, shape.v_stride = in.v.stride;
  // dq has q's stride (0), dk and dv have their own.
  shape.dk_stride = in.k.width, shape.dv_stride = in.v.width + 4 * c.gap;
  shape.window = c.window, shape.scale = c.scale, shape.softcap = c.softcap;
  return shape;
}

struct Results {
  Results(const Case& c, const Inputs& in)
      : out(c.type, in.q.tokens, in.q.width, 0),
        dq(c.type, in.q.tokens, in.q.width, c.gap),
        dk(c.type, in.k.tokens, in.k.width, 0),
        dv(c.type, in.v.tokens, in.v.width, 4 * c.gap),
        lse(static_cast<std::size_t>(in.q.tokens * c.kv_heads * c.group)) {
    const auto shape = shape_of(c, in);
    attention(in.q.data(), in.k.data(), in.v.data(), c.type, shape, out.data(), lse.data());
    attention_backward(in.q.data(), in.k.data(), in.v.data(), out.data(), lse.data(), in.dout.data(), c.type, shape,
                       dq.data(), dk.data(), dv.data());
  }
  bool operator==(const Results& other) const {
    return out.bytes == other.out.bytes && lse == other.lse && dq.bytes == other.dq.bytes &&
           dk.bytes == other.dk.bytes && dv.bytes == other.dv.bytes;
  }
  Rows out, dq, dk, dv;
  std::vector<float> lse;
};

/// Roundings of 2⁻²⁴ that add up at random: over `size` products a score of magnitude below 30 is off by some
/// √size · 2⁻²⁴ · 30 at worst (the partial sums are no larger), and e^s relatively by as much. The sums over `keys` add
/// √keys, exponential, maximum and quotient a few. Twice that, for P and dP meet in dS.
double tolerance(const Case& c, std::int64_t keys) {
  const double size = std::sqrt(static_cast<double>(c.size));
  return 2 * 0x1p-24 * (30 * size + std::sqrt(static_cast<double>(keys)) + 8);
}

/// All of it in float64, from the inputs as they are stored. `*_slack`: how far off a value may be: `tolerance` of the
/// magnitudes that it is a sum of; and in bfloat16, D = Σ dout · out is made from an `out` that is off by up to 2⁻⁸.
struct Expected {
  Expected(const Case& c, const Inputs& in)
      : heads(c.kv_heads * c.group),
        off(tolerance(c, in.k.tokens * c.group)),
        stored(c.type == FloatType::bf16 ? 0x1p-8 : 0),
        out(at(in.q)),
        dq(at(in.q)),
        dk(at(in.k)),
        dv(at(in.v)),
        dq_slack(at(in.q)),
        dk_slack(at(in.k)),
        dv_slack(at(in.v)),
        lse(static_cast<std::size_t>(in.q.tokens * heads)) {
    const double scale = c.scale > 0 ? static_cast<double>(c.scale) : 1 / std::sqrt(static_cast<double>(c.size));
    for (std::size_t s = 0; s + 1 < c.offsets.size(); ++s) {
      for (std::int64_t h = 0; h < heads; ++h) {
        for (auto row = c.offsets[s]; row < c.offsets[s + 1]; ++row) {
          add_row(c, in, row, c.window > 0 ? std::max(c.offsets[s], row - c.window + 1) : c.offsets[s], h, scale);
        }
      }
    }
  }
  static std::vector<double> at(const Rows& rows) {
    return std::vector<double>(static_cast<std::size_t>(rows.tokens * rows.width));
  }

  void add_row(const Case& c, const Inputs& in, std::int64_t row, std::int64_t first, std::int64_t h, double scale) {
    const std::int64_t from = h * c.size, key_from = h / c.group * c.size, count = row - first + 1;
    std::vector<double> p(static_cast<std::size_t>(count)), dp(p.size()), slope(p.size(), 1.0);
    double most = -std::numeric_limits<double>::infinity(), total = 0, product = 0;
    for (std::size_t j = 0; j < p.size(); ++j) {
      for (std::int64_t i = 0; i < c.size; ++i) {
        p[j] += scale * in.q(row, from + i) * in.k(first + static_cast<std::int64_t>(j), key_from + i);
        dp[j] += in.dout(row, from + i) * in.v(first + static_cast<std::int64_t>(j), key_from + i);
      }
      if (c.softcap > 0) {
        const double share = std::tanh(p[j] / c.softcap);
        p[j] = c.softcap * share;
        slope[j] = 1 - share * share;
      }
      most = std::max(most, p[j]);
    }
    for (auto& score : p) total += score = std::exp(score - most);
    lse[static_cast<std::size_t>(h * in.q.tokens + row)] = most + std::log(total);
    for (std::size_t j = 0; j < p.size(); ++j) product += dp[j] * (p[j] /= total);
    double product_slack = 0;
    for (std::int64_t i = 0; i < c.size; ++i) {
      double& sum = out[static_cast<std::size_t>(row * in.q.width + from + i)];
      for (std::size_t j = 0; j < p.size(); ++j) sum += p[j] * in.v(first + static_cast<std::int64_t>(j), key_from + i);
      product_slack += stored * std::fabs(sum * in.dout(row, from + i));
    }
    for (std::size_t j = 0; j < p.size(); ++j) {
      const auto key = first + static_cast<std::int64_t>(j);
      const double ds = slope[j] * scale * p[j] * (dp[j] - product);
      const double ds_slack = scale * p[j] * (off * (std::fabs(dp[j]) + std::fabs(product) + 1) + product_slack);
      for (std::int64_t i = 0; i < c.size; ++i) {
        const auto q_at = static_cast<std::size_t>(row * in.q.width + from + i);
        const auto k_at = static_cast<std::size_t>(key * in.k.width + key_from + i);
        const double q = in.q(row, from + i), k = in.k(key, key_from + i), d = in.dout(row, from + i);
        dq[q_at] += ds * k, dq_slack[q_at] += ds_slack * std::fabs(k);
        dk[k_at] += ds * q, dk_slack[k_at] += ds_slack * std::fabs(q);
        dv[k_at] += p[j] * d, dv_slack[k_at] += off * p[j] * std::fabs(d);
      }
    }
  }

  std::int64_t heads;
  double off, stored;
  std::vector<double> out, dq, dk, dv, dq_slack, dk_slack, dv_slack, lse;
};

void expect_near(const std::vector<double>& expected, const std::vector<double>& slack, const Rows& actual,
                 const char* what) {
  ASSERT_TRUE(actual.gaps_untouched()) << what;
  const double stored = actual.type == FloatType::bf16 ? 0x1p-8 : 0;
  for (std::int64_t i = 0; i < actual.tokens * actual.width; ++i) {
    const double want = expected[static_cast<std::size_t>(i)], found = actual(i / actual.width, i % actual.width);
    // 1e-27: probabilities below 1e-30 count as 0, for up to 100 values of up to 10.
    ASSERT_NEAR(want, found, stored * std::fabs(want) + slack[static_cast<std::size_t>(i)] + 1e-27)
        << what << " of token " << i / actual.width << ", element " << i % actual.width;
  }
}

/// out is a mean of values below 5.
std::vector<double> out_slack(const Expected& expected, double off) {
  return std::vector<double>(expected.out.size(), 5 * off);
}

void check(const Case& c) {
  const Inputs in(c);
  const Expected expected(c, in);
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    SCOPED_TRACE(name(c));
    const Results found(c, in);
    expect_near(expected.out, out_slack(expected, expected.off), found.out, "out");
    for (std::size_t i = 0; i < found.lse.size(); ++i) {
      ASSERT_NEAR(expected.lse[i], static_cast<double>(found.lse[i]),
                  4 * expected.off + 0x1p-23 * std::fabs(expected.lse[i]));
    }
    expect_near(expected.dv, expected.dv_slack, found.dv, "dv");
    expect_near(expected.dq, expected.dq_slack, found.dq, "dq");
    expect_near(expected.dk, expected.dk_slack, found.dk, "dk");
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Attention, OddLengths) {
  for (const std::int64_t length : {1, 2, 17, 63, 64, 65, 127, 129, 200}) {
    for (const auto type : {FloatType::f32, FloatType::bf16}) check({type, {0, length}, 1, 2, 16, 0});
  }
}

TEST(Attention, HeadSizes) {
  for (const std::int64_t size : {8, 24, 32, 40, 64, 80, 96, 128, 256}) {
    for (const auto type : {FloatType::f32, FloatType::bf16}) check({type, {0, 70}, 2, 1, size, 0});
  }
}

TEST(Attention, GroupsOfHeads) {
  for (const std::int64_t group : {1, 2, 3, 7, 9}) {
    for (const auto type : {FloatType::f32, FloatType::bf16}) check({type, {0, 66, 75}, 2, group, 16, 0});
  }
}

TEST(Attention, SeveralSequences) {
  check({FloatType::f32, {0, 1, 1, 64, 66, 195}, 2, 2, 24, 0});
  check({FloatType::bf16, {0, 1, 1, 64, 66, 195}, 2, 2, 24, 0});
}

TEST(Attention, Windows) {
  for (const std::int64_t window : {1, 2, 31, 64, 65, 130, 300}) {
    check({FloatType::f32, {0, 5, 285}, 1, 2, 16, window});
    check({FloatType::bf16, {0, 130}, 2, 3, 8, window});
  }
}

TEST(Attention, LongSequence) {
  check({FloatType::f32, {0, 1100}, 1, 2, 8, 0});
  check({FloatType::f32, {0, 1100}, 1, 1, 8, 200});
}

TEST(Attention, StridesAndScale) {
  for (const auto type : {FloatType::f32, FloatType::bf16}) {
    check({type, {0, 70, 90}, 2, 3, 24, 0, 7, 0.3f});
    check({type, {0, 70}, 2, 3, 40, 9, 16});
  }
}

// Caps that bind (scores reach 10 and more) and one that hardly does; slopes near 0 are differences near 1, which the
// slack of the uncapped case covers.
TEST(Attention, SoftCaps) {
  for (const auto type : {FloatType::f32, FloatType::bf16}) {
    for (const float cap : {2.0f, 5.0f, 50.0f}) {
      check({type, {0, 5, 75}, 2, 2, 24, 0, 0, 0, cap});
      check({type, {0, 150}, 1, 3, 16, 33, 5, 0.4f, cap});
    }
  }
}

/// The work is cut for as many threads as are set, whoever does it.
struct ThreadGuard {
  ~ThreadGuard() { set_thread_count(before); }
  int before = thread_count();
};

TEST(Attention, ThreadsChangeNoBit) {
  const ModeGuard modes;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const Case& c :
         {Case{FloatType::f32, {0, 300, 365, 366}, 2, 3, 16, 0}, Case{FloatType::bf16, {0, 500}, 1, 2, 24, 90}}) {
      SCOPED_TRACE(name(c));
      const ThreadGuard threads;
      const Inputs in(c);
      set_thread_count(1);
      const Results one(c, in);
      for (const int count : {2, 3, 16}) {
        set_thread_count(count);
        ASSERT_TRUE(one == Results(c, in)) << count << " threads";
      }
    }
  }
}

TEST(Attention, OtherSequencesChangeNoBit) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const std::int64_t window : {0, 40}) {
      const Case c{FloatType::f32, {0, 150, 151, 230}, 2, 2, 24, window};
      SCOPED_TRACE(name(c));
      const Inputs in(c);
      const Results packed(c, in);
      for (std::size_t s = 0; s + 1 < c.offsets.size(); ++s) {
        const auto begin = c.offsets[s], count = c.offsets[s + 1] - begin;
        Case one = c;
        one.offsets = {0, count};
        Inputs part(one);
        const auto copy = [&](Rows& to, const Rows& from) {
          std::memcpy(to.data(), from.from(begin), to.bytes.size());
        };
        copy(part.q, in.q), copy(part.k, in.k), copy(part.v, in.v), copy(part.dout, in.dout);
        const Results alone(one, part);
        const auto equal = [&](const Rows& a, const Rows& b) {
          return std::memcmp(a.data(), b.from(begin), a.bytes.size()) == 0;
        };
        EXPECT_TRUE(equal(alone.out, packed.out) && equal(alone.dq, packed.dq) && equal(alone.dk, packed.dk) &&
                    equal(alone.dv, packed.dv));
      }
    }
  }
}

// Queries behind a cache: the last rows of the whole, to the bit.
TEST(Attention, QueriesAtTheEndOfMoreKeys) {
  const ModeGuard guard;
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    for (const std::int64_t window : {0, 50}) {
      const Case c{FloatType::f32, {0, 210}, 2, 3, 16, window};
      SCOPED_TRACE(name(c));
      const Inputs in(c);
      const Results whole(c, in);
      for (const std::int64_t count : {1, 2, 30}) {
        auto shape = shape_of(c, in);
        const Offsets queries{0, count}, keys{0, 210};
        shape.offsets = queries, shape.key_offsets = keys;
        Rows out(c.type, count, in.q.width, 0);
        std::vector<float> lse(static_cast<std::size_t>(count * shape.heads));
        attention(in.q.from(210 - count), in.k.data(), in.v.data(), c.type, shape, out.data(), lse.data());
        ASSERT_EQ(0, std::memcmp(out.data(), whole.out.from(210 - count), out.bytes.size())) << count;
      }
    }
  }
}

// Scores of ±2,000 overflow e^s without the running maximum; what one row sees is not what the next one sees.
TEST(Attention, LargeScores) {
  const ModeGuard guard;
  Case c{FloatType::f32, {0, 140}, 1, 1, 8, 0};
  Inputs in(c);
  in.q.fill(1, 60), in.k.fill(2, 40);
  const Expected expected(c, in);
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    SCOPED_TRACE(name(c));
    const Results found(c, in);
    // Scores below 10,000: off by 10,000 · 2⁻²⁴ · √8 twice.
    expect_near(expected.out, out_slack(expected, 4e-3), found.out, "out");
  }
}

// What a token must not see may be anything.
TEST(Attention, HiddenKeysDoNotMatter) {
  const ModeGuard guard;
  const Case c{FloatType::f32, {0, 40}, 1, 2, 16, 0};
  Inputs in(c), poisoned(c);
  for (std::int64_t i = 0; i < 16; ++i) store_float(poisoned.k.data(), c.type, 39 * 16 + i, 1e30f * (i % 2 ? 1 : -1));
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    const Results clean(c, in), other(c, poisoned);
    EXPECT_EQ(0, std::memcmp(clean.out.data(), other.out.data(), 39 * 32 * sizeof(float)));
  }
}

// A value that is no number must reach the loss, which stops the run, but no other row of out and dq.
TEST(Attention, ANanReachesItsRow) {
  const ModeGuard guard;
  const Case c{FloatType::f32, {0, 40}, 1, 2, 16, 0};
  Inputs in(c), poisoned(c);
  store_float(poisoned.q.data(), c.type, 7 * 32 + 3, std::numeric_limits<float>::quiet_NaN());
  for (const auto mode : all_modes()) {
    set_kernel_mode(mode);
    SCOPED_TRACE(name(c));
    const Results clean(c, in), other(c, poisoned);
    for (std::int64_t i = 0; i < 40 * 32; ++i) {
      const bool hit = i / 32 == 7 && i % 32 < 16;  // token 7, head 0
      const double value = other.out(i / 32, i % 32);
      ASSERT_TRUE(hit ? std::isnan(value) : value == clean.out(i / 32, i % 32)) << i;
      ASSERT_EQ(hit, std::isnan(other.dq(i / 32, i % 32))) << i;
    }
    for (std::int64_t i = 0; i < 16; ++i) ASSERT_TRUE(std::isnan(other.dk(7, i)));
  }
}

TEST(Attention, RefusesWhatItCannotDo) {
  const Case c{FloatType::f32, {0, 4}, 1, 2, 16, 0};
  const Inputs in(c);
  Rows out(c.type, 4, 32, 0);
  std::vector<float> lse(8);
  const auto run = [&](const AttentionShape& shape, FloatType type = FloatType::f32) {
    attention(in.q.data(), in.k.data(), in.v.data(), type, shape, out.data(), lse.data());
  };
  const auto good = shape_of(c, in);
  EXPECT_NO_THROW(run(good));
  EXPECT_THROW(run(good, FloatType::f16), Error);
  const auto bad = [&](const auto& change) {
    auto shape = good;
    change(shape);
    EXPECT_THROW(run(shape), Error);
  };
  const Offsets fewer{0, 3}, late{1, 4}, backwards{0, 3, 2};
  bad([](auto& s) { s.head_size = 12; });
  bad([](auto& s) { s.head_size = 264, s.q_stride = 528, s.k_stride = s.v_stride = 264; });
  bad([](auto& s) { s.heads = 3, s.kv_heads = 2, s.q_stride = s.k_stride = s.v_stride = 64; });
  bad([](auto& s) { s.window = -1; });
  bad([](auto& s) { s.k_stride = 15; });
  bad([](auto& s) { s.dq_stride = 31; });
  bad([&](auto& s) { s.offsets = late; });
  bad([&](auto& s) { s.offsets = backwards; });
  bad([&](auto& s) { s.key_offsets = fewer; });
  auto cached = good;
  cached.key_offsets = cached.offsets;
  EXPECT_THROW(attention_backward(in.q.data(), in.k.data(), in.v.data(), out.data(), lse.data(), in.dout.data(), c.type,
                                  cached, out.data(), out.data(), out.data()),
               Error);
}

}  // namespace
}  // namespace lorica::kernels
