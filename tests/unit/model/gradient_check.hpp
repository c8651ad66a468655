// What the gradient tests share: seeded tensors, weights, and the one finite-difference check.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "model/weights.hpp"

namespace lorica::test {

inline at::Tensor normal(std::vector<std::int64_t> shape, std::uint64_t seed, at::ScalarType dtype = at::kFloat) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::normal(0.0, 1.0, shape, generator, at::kDouble).to(dtype);
}

inline at::Tensor leaf(std::vector<std::int64_t> shape, std::uint64_t seed, at::ScalarType dtype = at::kFloat) {
  return normal(std::move(shape), seed, dtype).requires_grad_(true);
}

/// A weight as a block sees it. Trained ones share memory between leaf and stored tensor, as the stores have it.
inline model::Weight weight_of(const at::Tensor& value, bool trained) {
  return {std::make_shared<quant::StoredWeight>(quant::dense_weight(value.detach())),
          trained ? value.detach().requires_grad_(true) : at::Tensor()};
}

/// |a − b| / max(|b|, 1e-12), by the largest elements.
inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const auto wide_a = a.detach().to(at::kDouble), wide_b = b.detach().to(at::kDouble);
  if (wide_a.numel() == 0) return 0;
  return (wide_a - wide_b).abs().max().item<double>() / std::max(wide_b.abs().max().item<double>(), 1e-12);
}

inline std::vector<at::Tensor> gradients_of(const at::Tensor& loss, const std::vector<at::Tensor>& leaves) {
  return torch::autograd::grad({loss}, leaves, {}, false, false, /*allow_unused=*/true);
}

/// Compares the gradient of `loss` with respect to every element of `leaves` (float64) with central differences. `loss`
/// must read the leaves anew at each call. Error of a central difference: step² · f‴ / 6 (1e-10 here, for third
/// derivatives of order 1) and rounding 2e-16 · |loss| / step (1e-10 for losses to 10); `tolerance` is a hundred times
/// that.
inline void expect_gradients(const std::function<at::Tensor()>& loss, const std::vector<at::Tensor>& leaves,
                             double tolerance = 1e-7) {
  const auto found = gradients_of(loss(), leaves);
  const at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  for (std::size_t l = 0; l < leaves.size(); ++l) {
    ASSERT_EQ(leaves[l].scalar_type(), at::kDouble) << "a float32 leaf needs expect_directional";
    ASSERT_TRUE(found[l].defined()) << "leaf " << l << " got no gradient";
    auto flat = leaves[l].view({-1});
    const auto gradient = found[l].reshape({-1});
    for (std::int64_t i = 0; i < flat.numel(); ++i) {
      const double centre = flat[i].item<double>();
      flat[i].fill_(centre + kStep);
      const double up = loss().item<double>();
      flat[i].fill_(centre - kStep);
      const double down = loss().item<double>();
      flat[i].fill_(centre);
      ASSERT_NEAR(gradient[i].item<double>(), (up - down) / (2 * kStep), tolerance)
          << "leaf " << l << ", element " << i;
    }
  }
}

/// The same for float32: along the gradient itself, which sums all elements and so rises above the rounding. The
/// derivative in the direction g/|g| must be |g|. Rounding: 6e-8 · |loss| · few / step; truncation: step² · f‴ / 6; a
/// step where both are below 1e-3 of |g| is the caller's to choose.
inline void expect_directional(const std::function<double()>& loss, const std::vector<at::Tensor>& leaves,
                               const std::vector<at::Tensor>& gradients, double step, double tolerance = 2e-3) {
  const at::NoGradGuard no_grad;
  double squares = 0;
  for (const auto& gradient : gradients) squares += gradient.to(at::kDouble).square().sum().item<double>();
  const double norm = std::sqrt(squares);
  ASSERT_GT(norm, 0);
  std::vector<at::Tensor> centre;
  for (const auto& leaf : leaves) centre.push_back(leaf.clone());
  const auto at_offset = [&](double offset) {
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      leaves[i].copy_(centre[i].to(at::kDouble) + gradients[i].to(at::kDouble) * (offset / norm));
    }
    return loss();
  };
  const double slope = (at_offset(step) - at_offset(-step)) / (2 * step);
  at_offset(0);
  EXPECT_NEAR(slope / norm, 1.0, tolerance) << fmt::format("slope {}, gradient norm {}", slope, norm);
}

}  // namespace lorica::test
