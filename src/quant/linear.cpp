// Dequantizing, and the product with a stored weight and its gradient.
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/blockwise_8bit.hpp"
#include "kernels/gemm.hpp"
#include "kernels/mode.hpp"
#include "quant/composed.hpp"
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

/// Whether kernels/gemm.hpp does the product: float32 on a CPU whose instructions it is written for. ATen does the
/// rest.
bool has_kernel(const at::Tensor& x, const StoredWeight& weight) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.size(-1) == 0 || !weight.data.is_cpu()) return false;
  if (kernels::instruction_set() == kernels::InstructionSet::reference) return false;
  if (weight.quantized()) return true;
  return !weight.data.requires_grad() && is_float_type(weight.data.scalar_type()) && weight.data.dim() == 2 &&
         weight.data.is_contiguous() && x.numel() / x.size(-1) >= kFewRows;
}

/// x · Wᵀ + bias, or x · W if `by_columns`, by the kernel. x [..., k] -> [..., n], float32.
at::Tensor kernel_product(const at::Tensor& x, const StoredWeight& weight, const std::optional<at::Tensor>& bias,
                          bool by_columns) {
  const std::int64_t rows = weight.shape[0], columns = weight.shape[1], k = x.size(-1), n = by_columns ? columns : rows;
  const auto flat = x.contiguous().view({-1, k});
  auto y = at::empty({flat.size(0), n}, x.options());
  if (bias) y.copy_(bias->expand_as(y));
  at::Tensor absmax;  // outlives the view of it
  kernels::MatrixSource source;
  if (weight.quantized()) {
    absmax = block_absmax(weight);
    source = kernels::packed_matrix(code_of(weight.format.kind), weight.data.data_ptr<std::uint8_t>(),
                                    absmax.data_ptr<float>(), weight.format.block_size, rows, columns);
  } else {
    source =
        kernels::dense_matrix(weight.data.data_ptr(), float_type(weight.data.scalar_type()), rows, columns, columns);
  }
  kernels::gemm(kernels::dense_matrix(flat.data_ptr(), kernels::FloatType::f32, flat.size(0), k, k),
                by_columns ? source : transposed(source), bias ? 1.0f : 0.0f, y.data_ptr<float>(), n);
  auto shape = x.sizes().vec();
  shape.back() = n;
  return y.view(shape);
}

at::Tensor product(const at::Tensor& x, const StoredWeight& weight, const std::optional<at::Tensor>& bias) {
  if (has_kernel(x, weight)) return kernel_product(x, weight, bias, false);
  return at::linear(x, dequantize(weight, x.scalar_type()), bias);
}

/// A stored weight as autograd can keep it between forward and backward (the tensors are shared, not copied).
struct HeldWeight : torch::CustomClassHolder {
  explicit HeldWeight(const StoredWeight& kept) : weight(kept) {}
  StoredWeight weight;
};

/// x [..., in], bias [out] or none -> [..., out]. The weight is frozen; its dense form lives inside a call only.
struct FrozenLinear : torch::autograd::Function<FrozenLinear> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const std::optional<at::Tensor>& bias, const StoredWeight& weight) {
    context->saved_data["has_bias"] = bias.has_value();
    context->saved_data["weight"] = at::IValue::make_capsule(c10::make_intrusive<HeldWeight>(weight));
    return product(x, weight, bias);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto& grad_y = gradients[0];
    const auto held = c10::static_intrusive_pointer_cast<HeldWeight>(context->saved_data["weight"].toCapsule());
    at::Tensor grad_x, grad_bias;
    if (context->needs_input_grad(0)) grad_x = linear_backward_input(grad_y, held->weight);
    if (context->saved_data["has_bias"].toBool() && context->needs_input_grad(1)) {
      grad_bias = grad_y.reshape({-1, grad_y.size(-1)}).sum(0);
    }
    return {grad_x, grad_bias, at::Tensor()};
  }
};

void check_shapes(const at::Tensor& x, const StoredWeight& weight, std::size_t dimension) {
  ensure(weight.shape.size() == 2 && x.dim() >= 1 && x.size(-1) == weight.shape[dimension],
         "product of [{}] with a weight of shape [{}]", fmt::join(x.sizes(), ", "), fmt::join(weight.shape, ", "));
}

}  // namespace

at::Tensor dequantize(const StoredWeight& weight, at::ScalarType dtype) {
  if (!weight.quantized()) return weight.data.to(dtype);
  const std::int64_t n = weight.elements(), block_size = weight.format.block_size;
  const auto code = code_of(weight.format.kind);
  const auto absmax = block_absmax(weight);
  if (!weight.data.is_cpu() || !is_float_type(dtype)) {
    return dequantize_4bit_composed(code, weight.data, absmax, n, block_size, dtype).view(weight.shape);
  }
  auto out = at::empty(weight.shape, dtype);
  kernels::dequantize_4bit(code, weight.data.data_ptr<std::uint8_t>(), absmax.data_ptr<float>(), n, block_size,
                           float_type(dtype), out.data_ptr());
  return out;
}

at::Tensor linear(const at::Tensor& x, const StoredWeight& weight, const at::Tensor& bias) {
  check_shapes(x, weight, 1);
  std::optional<at::Tensor> typed_bias;  // autograd takes an absent tensor, not an undefined one
  if (bias.defined()) typed_bias = bias.to(x.scalar_type());
  if (!weight.quantized() && !has_kernel(x, weight) &&
      (weight.data.requires_grad() || weight.data.scalar_type() == x.scalar_type())) {
    return at::linear(x, weight.data.to(x.scalar_type()), typed_bias);
  }
  const bool needs_grad =
      at::GradMode::is_enabled() && (x.requires_grad() || (typed_bias && typed_bias->requires_grad()));
  if (!needs_grad) return product(x, weight, typed_bias);
  return FrozenLinear::apply(x, typed_bias, weight);
}

at::Tensor linear_backward_input(const at::Tensor& grad_y, const StoredWeight& weight) {
  check_shapes(grad_y, weight, 0);
  const at::NoGradGuard no_grad;
  if (has_kernel(grad_y, weight)) return kernel_product(grad_y, weight, std::nullopt, true);
  return at::matmul(grad_y, dequantize(weight, grad_y.scalar_type()));
}

}  // namespace lorica::quant
