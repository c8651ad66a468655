#include "model/ops/dropout.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/random.hpp"
#include "kernels/dropout_hash.hpp"
#include "kernels/elementwise.hpp"
#include "model/ops/kernel_operand.hpp"
#include "model/scope.hpp"

namespace lorica::model {
namespace {

/// One 32-bit key a row, for kernels/dropout_hash.hpp.
std::vector<std::uint32_t> row_keys(const DropoutRows& rows, std::uint64_t module) {
  const auto common = random_key({rows.seed, rows.step, module});
  std::vector<std::uint32_t> keys(rows.examples.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto example = static_cast<std::uint64_t>(rows.examples[i]);
    keys[i] = static_cast<std::uint32_t>(random_key({example, static_cast<std::uint64_t>(rows.positions[i])}, common));
  }
  return keys;
}

/// A value is dropped when its hash is below this.
std::int64_t threshold(double probability) {
  return static_cast<std::int64_t>(std::llround(probability * 4294967296.0));
}

float scale_of(double probability) {
  return static_cast<float>(1.0 / (1.0 - probability));
}

kernels::DropoutRule rule_of(double probability) {
  return {static_cast<std::uint64_t>(threshold(probability)), scale_of(probability)};
}

/// There is one for every instruction set, the reference included.
bool has_kernel(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

}  // namespace

at::Tensor dropout_mask(const DropoutRows& rows, std::uint64_t module, double probability, std::int64_t features,
                        at::Device device) {
  const auto count = static_cast<std::int64_t>(rows.examples.size());
  auto keys = at::empty({count, 1}, at::kLong);
  std::ranges::copy(row_keys(rows, module), keys.data_ptr<std::int64_t>());
  const std::int64_t low = 0xFFFFFFFF;
  auto x = at::arange(features, at::TensorOptions().dtype(at::kLong).device(device)) *
           static_cast<std::int64_t>(kernels::kDropoutStride);
  x = (x.unsqueeze(0) + keys.to(device)).bitwise_and_(low);
  x.bitwise_xor_(x.bitwise_right_shift(16));
  x.mul_(static_cast<std::int64_t>(kernels::kDropoutMultiply1)).bitwise_and_(low);
  x.bitwise_xor_(x.bitwise_right_shift(15));
  x.mul_(static_cast<std::int64_t>(kernels::kDropoutMultiply2)).bitwise_and_(low);
  x.bitwise_xor_(x.bitwise_right_shift(16));
  return x.ge(threshold(probability)).to(at::kFloat).mul_(scale_of(probability));
}

void Dropout::check(const at::Tensor& x) const {
  ensure(x.dim() == 2 && x.size(0) == static_cast<std::int64_t>(rows_->examples.size()),
         "dropout over {} rows was given {}", rows_->examples.size(), x.size(0));
}

at::Tensor Dropout::apply(const at::Tensor& x) const {
  if (!active()) return x;
  const Operation operation("lorica::dropout", {x});
  check(x);
  const auto features = x.size(1);
  if (!has_kernel(x)) {
    // The mask stays float32, so that a 16-bit value is rounded once, after the product, as by the kernel.
    return (x * dropout_mask(*rows_, module_, probability_, features, x.device())).to(x.scalar_type());
  }
  const auto in = x.contiguous();
  auto out = at::empty_like(in);
  if (in.numel() == 0) return out;
  kernels::dropout(in.const_data_ptr(), row_keys(*rows_, module_), rule_of(probability_), type_of(in), in.size(0),
                   features, out.data_ptr());
  return out;
}

void Dropout::add_to(const at::Tensor& sum, const at::Tensor& x) const {
  const bool alike = sum.is_cpu() && sum.scalar_type() == x.scalar_type() && sum.sizes() == x.sizes();
  if (!active() || !alike || !has_kernel(x) || !sum.is_contiguous() || x.numel() == 0) {
    sum.add_(apply(x));
    return;
  }
  const Operation operation("lorica::add_dropout", {x});
  check(x);
  const auto in = x.contiguous();
  kernels::add_dropout(in.const_data_ptr(), row_keys(*rows_, module_), rule_of(probability_), type_of(in), in.size(0),
                       in.size(1), sum.data_ptr());
}

}  // namespace lorica::model
