#include "model/ops/dropout.hpp"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>

#include <cmath>

#include "base/error.hpp"
#include "base/parallel.hpp"
#include "base/random.hpp"
#include "model/scope.hpp"

namespace lorica::model {
namespace {

// One 32-bit key a row, then a 32-bit integer hash of (key + feature · odd constant). The hash is a two-round
// multiply-xorshift finalizer ("lowbias32", C. Wellons, hash-prospector); 32 bits so that it can be composed of int64
// tensor operations.
constexpr std::uint32_t kStride = 0x9E3779B9U, kMultiply1 = 0x7FEB352DU, kMultiply2 = 0x846CA68BU;

constexpr std::uint32_t hash32(std::uint32_t x) {
  x ^= x >> 16;
  x *= kMultiply1;
  x ^= x >> 15;
  x *= kMultiply2;
  return x ^ (x >> 16);
}

std::uint32_t row_key(const DropoutRows& rows, std::uint64_t module, std::size_t row) {
  return static_cast<std::uint32_t>(
      random_key({rows.seed, rows.step, module, static_cast<std::uint64_t>(rows.examples[row]),
                  static_cast<std::uint64_t>(rows.positions[row])}));
}

/// A value is dropped when its hash is below this.
std::int64_t threshold(double probability) {
  return static_cast<std::int64_t>(std::llround(probability * 4294967296.0));
}

template <class T>
void apply_cpu(const DropoutRows& rows, std::uint64_t module, double probability, const T* in, T* out,
               std::int64_t count, std::int64_t features) {
  const auto limit = static_cast<std::uint64_t>(threshold(probability));
  using Wide = at::opmath_type<T>;
  const auto scale = static_cast<Wide>(static_cast<float>(1.0 / (1.0 - probability)));
  parallel_for(count, 16, [&](std::int64_t begin, std::int64_t end) {
    for (auto row = begin; row < end; ++row) {
      const std::uint32_t key = row_key(rows, module, static_cast<std::size_t>(row));
      const T* source = in + row * features;
      T* target = out + row * features;
      for (std::int64_t j = 0; j < features; ++j) {
        const bool keep = hash32(key + static_cast<std::uint32_t>(j) * kStride) >= limit;
        target[j] = keep ? static_cast<T>(static_cast<Wide>(source[j]) * scale) : static_cast<T>(0.0F);
      }
    }
  });
}

}  // namespace

at::Tensor dropout_mask(const DropoutRows& rows, std::uint64_t module, double probability, std::int64_t features,
                        at::Device device) {
  const auto count = static_cast<std::int64_t>(rows.examples.size());
  auto keys = at::empty({count, 1}, at::kLong);
  for (std::int64_t row = 0; row < count; ++row) {
    keys.data_ptr<std::int64_t>()[row] = row_key(rows, module, static_cast<std::size_t>(row));
  }
  const std::int64_t low = 0xFFFFFFFF;
  auto x =
      at::arange(features, at::TensorOptions().dtype(at::kLong).device(device)) * static_cast<std::int64_t>(kStride);
  x = (x.unsqueeze(0) + keys.to(device)).bitwise_and_(low);
  x.bitwise_xor_(x.bitwise_right_shift(16));
  x.mul_(static_cast<std::int64_t>(kMultiply1)).bitwise_and_(low);
  x.bitwise_xor_(x.bitwise_right_shift(15));
  x.mul_(static_cast<std::int64_t>(kMultiply2)).bitwise_and_(low);
  x.bitwise_xor_(x.bitwise_right_shift(16));
  return x.ge(threshold(probability)).to(at::kFloat).mul_(static_cast<float>(1.0 / (1.0 - probability)));
}

at::Tensor Dropout::apply(const at::Tensor& x) const {
  if (!active()) return x;
  const Operation operation("lorica::dropout", {x});
  const auto features = x.size(-1);
  ensure(x.dim() == 2 && x.size(0) == static_cast<std::int64_t>(rows_->examples.size()),
         "dropout over {} rows was given {}", rows_->examples.size(), x.size(0));
  // The mask stays float32, so that a bfloat16 value is rounded once, after the product, as on the CPU.
  if (!x.is_cpu()) return (x * dropout_mask(*rows_, module_, probability_, features, x.device())).to(x.scalar_type());
  const auto in = x.contiguous();
  auto out = at::empty_like(in);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, in.scalar_type(), "dropout", [&] {
    apply_cpu(*rows_, module_, probability_, in.const_data_ptr<scalar_t>(), out.data_ptr<scalar_t>(), in.size(0),
              features);
  });
  return out;
}

}  // namespace lorica::model
