// Attention over ragged batches, windows and caches: against a masked softmax written out, in float64.
#include "model/ops/attention.hpp"

#include <ATen/ATen.h>

#include <limits>

#include "kernels/modes.hpp"
#include "model/gradient_check.hpp"

namespace lorica::model {
namespace {

using test::expect_directional;
using test::expect_gradients;
using test::gradients_of;
using test::leaf;
using test::normal;
using test::relative_difference;

Batch batch_of(std::vector<std::int64_t> offsets) {
  return {std::move(offsets), {}};
}

/// One mask over the whole batch: same sequence, not later, inside the window.
at::Tensor reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const std::vector<std::int64_t>& offsets, std::int64_t window) {
  const auto tokens = q.size(0), groups = q.size(1) / k.size(1);
  auto mask = at::full({tokens, tokens}, -std::numeric_limits<double>::infinity(), q.options().requires_grad(false));
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (auto row = offsets[s]; row < offsets[s + 1]; ++row) {
      const auto first = window > 0 ? std::max(offsets[s], row - window + 1) : offsets[s];
      mask[row].narrow(0, first, row - first + 1).zero_();
    }
  }
  std::vector<at::Tensor> heads;
  for (std::int64_t h = 0; h < q.size(1); ++h) {
    const auto scores = at::mm(q.select(1, h), k.select(1, h / groups).t()) / std::sqrt(static_cast<double>(q.size(2)));
    heads.push_back(at::mm(at::softmax(scores + mask, -1), v.select(1, h / groups)));
  }
  return at::cat(heads, 1);
}

struct Case {
  std::vector<std::int64_t> offsets;
  std::int64_t window, heads, kv_heads;
};

TEST(Attention, EqualsAMaskedSoftmax) {
  for (const Case& item : {Case{{0, 9}, 0, 4, 4},
                           {{0, 9}, 0, 4, 2},
                           {{0, 1, 6, 11}, 0, 4, 1},
                           {{0, 12}, 5, 2, 2},
                           {{0, 12, 14, 40}, 5, 4, 2},
                           {{0, 12}, 1, 2, 1},
                           {{0, 150}, 70, 2, 1},
                           {{0, 200}, 3, 2, 2},
                           {{0, 10, 20}, 100, 2, 2}}) {
    const auto tokens = item.offsets.back();
    SCOPED_TRACE(fmt::format("offsets {}, window {}, heads {}/{}", fmt::join(item.offsets, " "), item.window,
                             item.heads, item.kv_heads));
    auto q = leaf({tokens, item.heads, 6}, 1, at::kDouble), k = leaf({tokens, item.kv_heads, 6}, 2, at::kDouble);
    auto v = leaf({tokens, item.kv_heads, 6}, 3, at::kDouble);
    const auto direction = normal({tokens, item.heads * 6}, 4, at::kDouble);
    const auto ours = attention(q, k, v, batch_of(item.offsets), {item.window});
    const auto theirs = reference(q, k, v, item.offsets, item.window);
    ASSERT_EQ(ours.sizes(), theirs.sizes());
    EXPECT_LT(relative_difference(ours, theirs), 1e-12);
    const auto found = gradients_of((ours * direction).sum(), {q, k, v});
    const auto expected = gradients_of((theirs * direction).sum(), {q, k, v});
    for (std::size_t i = 0; i < 3; ++i) {
      // Absolute: with a window of 1 the exact gradient of q and k is 0.
      EXPECT_LT((found[i] - expected[i]).abs().max().item<double>(), 1e-12) << i;
    }
  }
}

TEST(Attention, MatchesFiniteDifferences) {
  for (const std::int64_t window : {0, 2}) {
    auto q = leaf({5, 2, 3}, 1, at::kDouble), k = leaf({5, 1, 3}, 2, at::kDouble), v = leaf({5, 1, 3}, 3, at::kDouble);
    const auto direction = normal({5, 6}, 4, at::kDouble);
    expect_gradients([&] { return (attention(q, k, v, batch_of({0, 2, 5}), {window}) * direction).sum(); }, {q, k, v});
  }
}

/// How far two float32 or bfloat16 results of one attention may be apart, relatively to the largest value: some √d + √T
/// roundings of 2⁻²⁴ in scores of magnitude 20; in bfloat16 the stored result, and D = Σ dout · out with it, besides.
double apart(at::ScalarType dtype) {
  return dtype == at::kFloat ? 2e-5 : 3 * 0x1p-8;
}

// Every instruction set, `reference` being ATen, against the masked softmax in float64.
TEST(Attention, KernelsAndAtenEqualAMaskedSoftmax) {
  const kernels::ModeGuard guard;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const Case& item : {Case{{0, 70}, 0, 6, 2}, Case{{0, 1, 66, 71}, 0, 7, 1}, Case{{0, 12, 14, 150}, 40, 4, 2}}) {
      const auto tokens = item.offsets.back();
      auto q = leaf({tokens, item.heads, 16}, 1, dtype), k = leaf({tokens, item.kv_heads, 16}, 2, dtype);
      auto v = leaf({tokens, item.kv_heads, 16}, 3, dtype);
      const auto direction = normal({tokens, item.heads * 16}, 4, dtype);
      const auto wide = [](const at::Tensor& x) { return x.detach().to(at::kDouble).requires_grad_(true); };
      const auto q64 = wide(q), k64 = wide(k), v64 = wide(v);
      const auto theirs = reference(q64, k64, v64, item.offsets, item.window);
      const auto expected = gradients_of((theirs * direction.to(at::kDouble)).sum(), {q64, k64, v64});
      for (const auto mode : kernels::all_modes()) {
        kernels::set_kernel_mode(mode);
        SCOPED_TRACE(
            fmt::format("{}, offsets {}, window {}", c10::toString(dtype), fmt::join(item.offsets, " "), item.window));
        const auto ours = attention(q, k, v, batch_of(item.offsets), {item.window});
        ASSERT_EQ(ours.scalar_type(), dtype);
        EXPECT_LT(relative_difference(ours, theirs), apart(dtype));
        const auto found = torch::autograd::grad({ours}, {q, k, v}, {direction});
        for (std::size_t i = 0; i < 3; ++i) EXPECT_LT(relative_difference(found[i], expected[i]), apart(dtype)) << i;
      }
    }
  }
}

TEST(Attention, KernelMatchesFiniteDifferences) {
  const kernels::ModeGuard guard;
  for (const auto mode : kernels::all_modes()) {
    kernels::set_kernel_mode(mode);
    const std::vector<at::Tensor> leaves{leaf({20, 4, 8}, 1), leaf({20, 2, 8}, 2), leaf({20, 2, 8}, 3)};
    const auto direction = normal({20, 32}, 4);
    const auto loss = [&] {
      return (attention(leaves[0], leaves[1], leaves[2], batch_of({0, 13, 20}), {6}) * direction).sum();
    };
    expect_directional([&] { return loss().item<double>(); }, leaves, gradients_of(loss(), leaves), 1e-2);
  }
}

// q, k and v as slices of one fused product, and heads that are not next to each other: the same bits as copies of
// them.
TEST(Attention, TakesSlices) {
  const auto fused = leaf({33, 8, 16}, 1), direction = normal({33, 64}, 2);
  const auto run = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return attention(q, k, v, batch_of({0, 20, 33}), {0});
  };
  const auto slices = run(fused.narrow(1, 0, 4), fused.narrow(1, 4, 2), fused.narrow(1, 6, 2));
  const auto by_head = fused.transpose(0, 1).contiguous().transpose(0, 1);
  const auto scattered = run(by_head.narrow(1, 0, 4), by_head.narrow(1, 4, 2), by_head.narrow(1, 6, 2));
  const auto copies =
      run(fused.narrow(1, 0, 4).contiguous(), fused.narrow(1, 4, 2).contiguous(), fused.narrow(1, 6, 2).contiguous());
  EXPECT_TRUE(slices.equal(copies));
  EXPECT_TRUE(scattered.equal(copies));
  const auto gradient = [&](const at::Tensor& y) { return gradients_of((y * direction).sum(), {fused})[0]; };
  const auto expected = gradient(copies);
  EXPECT_TRUE(gradient(slices).equal(expected));
  EXPECT_TRUE(gradient(scattered).equal(expected));
}

// What else is in the batch changes nothing, not even a bit.
TEST(Attention, PackedSequencesAreEachAlone) {
  const std::vector<std::int64_t> offsets{0, 7, 8, 30};
  const auto q = normal({30, 4, 16}, 1), k = normal({30, 2, 16}, 2), v = normal({30, 2, 16}, 3);
  for (const std::int64_t window : {0, 6}) {
    const auto packed = attention(q, k, v, batch_of(offsets), {window});
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
      const auto begin = offsets[s], rows = offsets[s + 1] - begin;
      const auto part = [&](const at::Tensor& x) { return x.narrow(0, begin, rows); };
      EXPECT_TRUE(part(packed).equal(attention(part(q), part(k), part(v), batch_of({0, rows}), {window})));
    }
  }
}

std::vector<std::pair<kernels::KernelMode, std::int64_t>> modes_and_windows(const std::vector<std::int64_t>& windows) {
  std::vector<std::pair<kernels::KernelMode, std::int64_t>> all;
  for (const auto mode : kernels::all_modes()) {
    for (const auto window : windows) all.emplace_back(mode, window);
  }
  return all;
}

// A prompt at once, then token by token (and a few at a time), past the cache's first capacity of 256 rows.
TEST(CachedAttention, StepByStepEqualsAllAtOnce) {
  constexpr std::int64_t kTokens = 300;
  const kernels::ModeGuard guard;
  const auto q = normal({kTokens, 4, 8}, 1), k = normal({kTokens, 2, 8}, 2), v = normal({kTokens, 2, 8}, 3);
  for (const auto& [mode, window] : modes_and_windows({0, 1, 40, 1000})) {
    kernels::set_kernel_mode(mode);
    const auto whole = attention(q, k, v, batch_of({0, kTokens}), {window});
    LayerCache cache;
    const Batch none;
    std::vector<at::Tensor> parts;
    std::int64_t done = 0;
    for (const std::int64_t prompt : {230, 1, 1, 5, 40}) {
      parts.push_back(attention(q.narrow(0, done, prompt), k.narrow(0, done, prompt), v.narrow(0, done, prompt), none,
                                {window}, &cache));
      done += prompt;
    }
    for (; done < kTokens; ++done) {
      parts.push_back(
          attention(q.narrow(0, done, 1), k.narrow(0, done, 1), v.narrow(0, done, 1), none, {window}, &cache));
    }
    EXPECT_EQ(cache.length, kTokens);
    // Softmax over up to 300 keys in another order: 300 · 6e-8 / 2.
    EXPECT_LT(relative_difference(at::cat(parts), whole), 1e-5) << "window " << window;
  }
}

}  // namespace
}  // namespace lorica::model
