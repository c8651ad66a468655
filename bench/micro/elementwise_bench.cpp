// The cheap operations between matrix products, forward and backward, with a micro-batch of 512 tokens, whose arrays
// may fit the caches (its share of memory's bandwidth may then exceed 100 %), and with so many that they don't.
//
// Backward of ATen runs on a graph that was made before and is kept: its forward isn't timed.
#include "harness.hpp"

#include <torch/csrc/autograd/autograd.h>

#include "kernels/elementwise.hpp"
#include "quant/kernel_weight.hpp"

namespace {

using namespace lorica;
using bench::Pair;

constexpr float kEps = 1e-6f;

struct Rows {
  std::int64_t rows, features;
  at::ScalarType dtype = at::kFloat;
  kernels::FloatType type() const { return quant::float_type(dtype); }
  at::Tensor random() const { return at::randn({rows, features}).to(dtype); }
  at::Tensor empty() const { return at::empty({rows, features}, dtype); }
  /// With `arrays` of this shape read or written once each.
  bench::Work work(double arrays) const {
    return {0, arrays * static_cast<double>(rows * features) * static_cast<double>(at::elementSize(dtype))};
  }
  std::string name() const { return fmt::format("{}/{}x{}", dtype == at::kFloat ? "f32" : "bf16", rows, features); }
};

/// A handful of float32 operations on each value, or sums over up to `terms`; bfloat16 rounds on the way and again when
/// the result is stored.
bench::Tolerance tolerance(const Rows& r, std::int64_t terms = 4) {
  auto result = bench::tolerance_of_sum(terms);
  if (r.dtype == at::kBFloat16) result.largest += 4 * bench::kBrainEpsilon;
  return result;
}

at::Tensor leaf(const at::Tensor& x) {
  return x.detach().requires_grad_();
}

std::vector<at::Tensor> gradients(const at::Tensor& y, const std::vector<at::Tensor>& of, const at::Tensor& dy) {
  return torch::autograd::grad({y}, of, {dy}, /*retain_graph=*/true);
}

/// A norm's weight, of values that every dtype here holds exactly.
at::Tensor norm_weight(const Rows& r) {
  return at::randn({r.features}).to(at::kBFloat16).to(at::kFloat);
}

Pair rms_norm(const Rows& r) {
  const auto x = r.random(), weight = norm_weight(r), like_x = weight.to(r.dtype), y = r.empty();
  return {[=] {
            kernels::rms_norm(x.data_ptr(), weight.data_ptr<float>(), r.type(), r.rows, r.features, kEps, y.data_ptr());
            return std::vector{y};
          },
          [=] { return std::vector{at::rms_norm(x, {r.features}, like_x, kEps)}; }, tolerance(r, r.features)};
}

Pair add_rms_norm(const Rows& r) {
  const auto x = r.random(), change = r.random(), weight = norm_weight(r), like_x = weight.to(r.dtype);
  const auto sum = r.empty(), y = r.empty();
  return {[=] {
            kernels::add_rms_norm(x.data_ptr(), change.data_ptr(), weight.data_ptr<float>(), r.type(), r.rows,
                                  r.features, kEps, sum.data_ptr(), y.data_ptr());
            return std::vector{sum, y};
          },
          [=] {
            const auto both = x + change;
            return std::vector{both, at::rms_norm(both, {r.features}, like_x, kEps)};
          },
          tolerance(r, r.features)};
}

/// With the gradient of the residual stream, which reaches x past the norm.
Pair rms_norm_backward(const Rows& r) {
  const auto x = r.random(), dy = r.random(), dsum = r.random(), weight = norm_weight(r);
  const auto dx = r.empty(), dweight = at::empty({r.features});
  const auto x_leaf = leaf(x), weight_leaf = leaf(weight.to(r.dtype));
  const auto y = at::rms_norm(x_leaf, {r.features}, weight_leaf, kEps);
  return {[=] {
            kernels::rms_norm_backward(x.data_ptr(), weight.data_ptr<float>(), dy.data_ptr(), dsum.data_ptr(), r.type(),
                                       r.rows, r.features, kEps, dx.data_ptr(), dweight.data_ptr<float>());
            return std::vector{dx, dweight};
          },
          [=] {
            auto result = gradients(y, {x_leaf, weight_leaf}, dy);
            result[0] = result[0] + dsum;
            return result;
          },
          tolerance(r, std::max(r.rows, r.features))};
}

Pair swiglu(const Rows& r) {
  const auto gate = r.random(), up = r.random(), y = r.empty();
  return {[=] {
            kernels::gated({gate.data_ptr(), up.data_ptr(), r.type()}, kernels::Gate::silu, r.rows, r.features,
                           r.type(), y.data_ptr());
            return std::vector{y};
          },
          [=] { return std::vector{at::silu(gate) * up}; }, tolerance(r)};
}

Pair swiglu_backward(const Rows& r) {
  const auto gate = r.random(), up = r.random(), dy = r.random(), dgate = r.empty(), dup = r.empty();
  const auto gate_leaf = leaf(gate), up_leaf = leaf(up), y = at::silu(gate_leaf) * up_leaf;
  return {[=] {
            kernels::gated_backward({gate.data_ptr(), up.data_ptr(), r.type()}, kernels::Gate::silu, dy.data_ptr(),
                                    r.type(), r.rows, r.features, {dgate.data_ptr(), dup.data_ptr()});
            return std::vector{dgate, dup};
          },
          [=] {
            return gradients(y, {gate_leaf, up_leaf}, dy);
          },
          tolerance(r)};
}

/// Rotary embedding as transformers has it: cosines and sines of a whole head, each angle twice.
Pair rotary(const Rows& r, bool inverse) {
  constexpr std::int64_t kSize = 64, kHalf = kSize / 2;
  const std::int64_t heads = r.features / kSize;
  const auto x = r.random(), y = r.empty(), angles = at::randn({r.rows, kHalf});
  const auto cosine = angles.cos(), sine = angles.sin();
  const auto twice = [&](const at::Tensor& half) { return at::cat({half, half}, 1).unsqueeze(1).to(r.dtype); };
  const auto cosines = twice(cosine), sines = twice(inverse ? -sine : sine);
  const kernels::RotaryShape shape{r.rows, heads, kSize, kSize, r.features};
  return {[=] {
            kernels::rotary(x.data_ptr(), cosine.data_ptr<float>(), sine.data_ptr<float>(), r.type(), shape, inverse,
                            y.data_ptr());
            return std::vector{y};
          },
          [=] {
            const auto by_head = x.view({r.rows, heads, kSize});
            const auto turned = at::cat({-by_head.slice(2, kHalf), by_head.slice(2, 0, kHalf)}, 2);
            return std::vector{(by_head * cosines + turned * sines).view({r.rows, r.features})};
          },
          tolerance(r)};
}

/// Ours turns the logits into their gradient in place. A row's sum of exponentials scales its gradient as a whole,
/// which therefore is compared value by value; but for a label's, which is a difference from 1.
Pair cross_entropy(const Rows& r, bool gradient) {
  const auto logits = r.random(), own = logits.clone(), labels = at::randint(r.features, {r.rows}, at::kLong);
  const auto with_graph = gradient ? leaf(logits) : logits;
  const auto ours = [=] {
    const double loss =
        kernels::cross_entropy(own.data_ptr<float>(), labels.data_ptr<std::int64_t>(), r.rows, r.features, gradient);
    std::vector results{at::scalar_tensor(loss)};
    if (gradient) results.push_back(own);
    return results;
  };
  const auto aten = [=] {
    const auto loss = at::cross_entropy_loss(with_graph, labels, {}, at::Reduction::Sum);
    std::vector results{loss};
    if (gradient) results.push_back(torch::autograd::grad({loss}, {with_graph})[0]);
    return results;
  };
  const double sums = bench::tolerance_of_sum(r.features).largest;
  return {ours, aten, {4 * bench::kFloatEpsilon, sums}};
}

void add_pairs(bench::Suite& suite) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const bool large : {false, true}) {
      const auto add = [&](const std::string& what, const Rows& r, double arrays, Pair (*make)(const Rows&)) {
        suite.add(what + "/" + r.name(), r.work(arrays), [=] { return make(r); });
      };
      const Rows hidden{large ? 16384 : 512, 896, dtype}, wide{large ? 4096 : 512, 4864, dtype};
      add("rms_norm/forward", hidden, 2, rms_norm);
      add("rms_norm/add+forward", hidden, 4, add_rms_norm);
      add("rms_norm/backward", hidden, 4, rms_norm_backward);
      add("swiglu/forward", wide, 3, swiglu);
      add("swiglu/backward", wide, 5, swiglu_backward);
      add("rotary/forward", hidden, 2, [](const Rows& r) { return rotary(r, false); });
      add("rotary/backward", hidden, 2, [](const Rows& r) { return rotary(r, true); });
    }
  }
  const Rows logits{52, 151936};
  suite.add("cross_entropy/forward/" + logits.name(), logits.work(1), [=] { return cross_entropy(logits, false); });
  suite.add("cross_entropy/gradient/" + logits.name(), logits.work(2), [=] { return cross_entropy(logits, true); });
}

}  // namespace

int main(int count, char** arguments) {
  return lorica::bench::run_pairs(count, arguments, add_pairs);
}
