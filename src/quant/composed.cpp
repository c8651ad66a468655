// 4-bit quantization in ATen operations.
#include "quant/composed.hpp"

#include "quant/formats/bitsandbytes_4bit.hpp"

namespace lorica::quant {
namespace {

template <class Values>
at::Tensor constant(const Values& values, at::ScalarType dtype, at::Device device) {
  const auto size = static_cast<std::int64_t>(values.size());
  return at::from_blob(const_cast<typename Values::value_type*>(values.data()), {size}, dtype).clone().to(device);
}

/// values [n] × scales [blocks], each block of values with its scale.
at::Tensor scale_blocks(const at::Tensor& values, const at::Tensor& scales, std::int64_t block_size) {
  const std::int64_t n = values.size(0), whole = n / block_size;
  const auto head = values.narrow(0, 0, whole * block_size).view({whole, block_size});
  auto scaled = (head * scales.narrow(0, 0, whole).unsqueeze(1)).view({-1});
  if (whole * block_size == n) return scaled;
  const auto tail = values.narrow(0, whole * block_size, n % block_size);
  return at::cat({scaled, tail * scales.narrow(0, whole, 1)});
}

}  // namespace

std::pair<at::Tensor, at::Tensor> quantize_4bit_composed(kernels::Code4 code, const at::Tensor& values,
                                                         std::int64_t block_size) {
  constexpr double kSmallestAbsmax = 1e-38;
  const auto flat = values.reshape({-1}).to(at::kFloat);
  const std::int64_t n = flat.size(0), whole = n / block_size;
  const auto head = flat.narrow(0, 0, whole * block_size).view({whole, block_size});
  auto absmax = whole == 0 ? flat.new_empty({0}) : head.abs().amax(1);
  auto scaled = (head * absmax.clamp_min(kSmallestAbsmax).reciprocal().unsqueeze(1)).view({-1});
  if (whole * block_size != n) {
    const auto tail = flat.narrow(0, whole * block_size, n % block_size);
    const auto tail_absmax = tail.abs().amax().clamp_min(kSmallestAbsmax).view({1});
    absmax = at::cat({absmax, tail_absmax});
    scaled = at::cat({scaled, tail / tail_absmax});
  }
  if (n % 2 != 0) scaled = at::constant_pad_nd(scaled, {0, 1}, 0);
  const auto ranks = at::bucketize(scaled, constant(kernels::code4_midpoints(code), at::kFloat, flat.device()), true);
  const auto order = constant(kernels::code4_order(code), at::kByte, flat.device());
  const auto pairs = order.index_select(0, ranks).view({-1, 2});
  return {at::bitwise_or(at::bitwise_left_shift(pairs.select(1, 0), 4), pairs.select(1, 1)).contiguous(), absmax};
}

at::Tensor dequantize_4bit_composed(kernels::Code4 code, const at::Tensor& packed, const at::Tensor& absmax,
                                    std::int64_t n, std::int64_t block_size, at::ScalarType dtype) {
  const auto patterns = at::stack({at::bitwise_right_shift(packed, 4), at::bitwise_and(packed, 15)}, 1);
  const auto index = patterns.view({-1}).narrow(0, 0, n).to(at::kInt);
  const auto table = constant(kernels::code4_values(code), at::kFloat, packed.device());
  return scale_blocks(table.index_select(0, index), absmax, block_size).to(dtype);
}

at::Tensor dequantize_absmax_composed(const at::Tensor& codes, const at::Tensor& map, const at::Tensor& nested_absmax,
                                      float offset) {
  return scale_blocks(map.index_select(0, codes.to(at::kInt)), nested_absmax, kNestedBlockSize).add_(offset);
}

}  // namespace lorica::quant
