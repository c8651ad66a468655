// A stored weight as a dense tensor, and as an operand of kernels/gemm.hpp.
#include "quant/cuda/dequantize.hpp"
#include "kernels/blockwise_8bit.hpp"
#include "kernels/mode.hpp"
#include "quant/composed.hpp"
#include "quant/kernel_weight.hpp"
#include "quant/layout.hpp"

namespace lorica::quant {
namespace {

/// The absmax of every block, f32 [blocks].
at::Tensor block_absmax(const StoredWeight& weight) {
  if (!weight.nested_absmax.defined()) return weight.absmax;
  if (!weight.absmax.is_cpu()) {
    return dequantize_absmax_composed(weight.absmax, weight.nested_code, weight.nested_absmax, weight.offset);
  }
  auto absmax = at::empty(weight.absmax.sizes(), at::kFloat);
  kernels::dequantize_8bit(weight.absmax.data_ptr<std::uint8_t>(), weight.nested_code.data_ptr<float>(),
                           weight.nested_absmax.data_ptr<float>(), absmax.numel(), kNestedBlockSize, weight.offset,
                           absmax.data_ptr<float>());
  return absmax;
}

// Below this many rows a dense weight is read once and hardly used: packing it would cost more than the product.
constexpr std::int64_t kFewRows = 16;

}  // namespace

at::Tensor dequantize(const StoredWeight& weight, at::ScalarType dtype) {
  if (!weight.quantized()) return weight.data.to(dtype);
  const std::int64_t n = weight.elements(), block_size = weight.format.block_size;
  const auto code = code_of(weight.format.kind);
  const auto absmax = block_absmax(weight);
  if (is_float_type(dtype) && cuda::has_kernel(weight.data)) {
    return cuda::dequantize_4bit(code, weight.data, absmax, n, block_size, dtype).view(weight.shape);
  }
  if (!weight.data.is_cpu() || !is_float_type(dtype)) {
    return dequantize_4bit_composed(code, weight.data, absmax, n, block_size, dtype).view(weight.shape);
  }
  auto out = at::empty(weight.shape, dtype);
  kernels::dequantize_4bit(code, weight.data.data_ptr<std::uint8_t>(), absmax.data_ptr<float>(), n, block_size,
                           float_type(dtype), out.data_ptr());
  return out;
}

bool has_kernel(const at::Tensor& x, const StoredWeight& weight) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.numel() == 0 || !weight.data.is_cpu()) return false;
  if (!kernels::has_kernels()) return false;
  if (weight.quantized()) return true;
  return is_float_type(weight.data.scalar_type()) && weight.data.dim() == 2 && weight.data.is_contiguous() &&
         x.numel() / x.size(-1) >= kFewRows;
}

KernelWeight::KernelWeight(const StoredWeight& weight) {
  if (!weight.quantized()) {
    source = matrix_of(weight.data);
    return;
  }
  absmax_ = block_absmax(weight);
  source = kernels::packed_matrix(code_of(weight.format.kind), weight.data.data_ptr<std::uint8_t>(),
                                  absmax_.data_ptr<float>(), weight.format.block_size, weight.shape.at(0),
                                  weight.shape.at(1));
}

kernels::MatrixSource matrix_of(const at::Tensor& tensor) {
  ensure(tensor.dim() == 2 && tensor.is_cpu() && (tensor.stride(1) == 1 || tensor.size(1) == 1),
         "an operand of shape [{}] whose rows are not contiguous", fmt::join(tensor.sizes(), ", "));
  return kernels::dense_matrix(tensor.const_data_ptr(), float_type(tensor.scalar_type()), tensor.size(0),
                               tensor.size(1), std::max(tensor.stride(0), tensor.size(1)));
}

}  // namespace lorica::quant
