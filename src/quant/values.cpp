#include "quant/values.hpp"

#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "kernels/finite.hpp"
#include "quant/dtype_name.hpp"
#include "quant/kernel_weight.hpp"

namespace lorica::quant {
namespace {

std::string position(std::int64_t index, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> at(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    at[i] = index % shape[i];
    index /= shape[i];
  }
  return fmt::format("[{}]", fmt::join(at, ", "));
}

[[noreturn]] void raise_value(std::string_view name, const std::vector<std::int64_t>& shape, std::int64_t index,
                              double value, at::ScalarType dtype) {
  if (std::isfinite(value)) {
    raise<ModelError>(
        "tensor '{}': the value {} at {} is too large for {}: bfloat16 and float32 reach farther, "
        "and so do nf4 and fp4 of a model loaded so",
        name, value, position(index, shape), dtype_name(dtype));
  }
  raise<ModelError>("tensor '{}' holds {} at {}: the model file is damaged or its training diverged", name, value,
                    position(index, shape));
}

/// Value `index` of a mapped tensor, which may lie at any address.
double value_at(const io::TensorView& view, std::int64_t index) {
  const std::size_t size = io::dtype_size(view.dtype);
  const std::byte* p = view.data + static_cast<std::size_t>(index) * size;
  if (view.dtype == io::Dtype::f64) {
    double value;
    std::memcpy(&value, p, sizeof value);
    return value;
  }
  alignas(4) std::byte element[4];
  std::memcpy(element, p, size);
  return kernels::load_float(element, float_type(*float_dtype(view.dtype)), 0);
}

/// Element by element, in loops that the compiler turns into vectors. `in` may lie at any address.
template <class Element, class ToFloat>
void convert_elements(const std::byte* in, std::int64_t count, kernels::FloatType type, void* out, ToFloat to_float) {
  const auto value = [&](std::int64_t i) {
    Element element;
    std::memcpy(&element, in + static_cast<std::size_t>(i) * sizeof element, sizeof element);
    return to_float(element);
  };
  if (type == kernels::FloatType::f32) {
    auto* to = static_cast<float*>(out);
    for (std::int64_t i = 0; i < count; ++i) to[i] = value(i);
    return;
  }
  auto* to = static_cast<std::uint16_t*>(out);
  if (type == kernels::FloatType::bf16) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = kernels::float_to_bf16(value(i));
  } else {
    for (std::int64_t i = 0; i < count; ++i) to[i] = kernels::float_to_f16(value(i));
  }
}

}  // namespace

std::optional<at::ScalarType> float_dtype(io::Dtype dtype) {
  switch (dtype) {
    case io::Dtype::f32:
      return at::kFloat;
    case io::Dtype::bf16:
      return at::kBFloat16;
    case io::Dtype::f16:
      return at::kHalf;
    case io::Dtype::f64:
      return at::kDouble;
    default:
      return std::nullopt;
  }
}

io::Dtype file_dtype(at::ScalarType dtype) {
  return dtype == at::kFloat ? io::Dtype::f32 : dtype == at::kBFloat16 ? io::Dtype::bf16 : io::Dtype::f16;
}

void convert_values(const io::TensorView& view, std::int64_t first, std::int64_t count, kernels::FloatType type,
                    void* out) {
  const std::size_t size = io::dtype_size(view.dtype);
  const std::byte* in = view.data + static_cast<std::size_t>(first) * size;
  if (float_dtype(view.dtype) != at::kDouble && float_type(*float_dtype(view.dtype)) == type) {
    std::memcpy(out, in, static_cast<std::size_t>(count) * size);
    return;
  }
  switch (view.dtype) {
    case io::Dtype::f32:
      return convert_elements<float>(in, count, type, out, [](float value) { return value; });
    case io::Dtype::f64:
      return convert_elements<double>(in, count, type, out, [](double value) { return static_cast<float>(value); });
    case io::Dtype::bf16:
      return convert_elements<std::uint16_t>(in, count, type, out, kernels::bf16_to_float);
    default:  // store_from lets nothing else in
      return convert_elements<std::uint16_t>(in, count, type, out, kernels::f16_to_float);
  }
}

bool readable_as(const io::TensorView& view, kernels::FloatType type) {
  const auto dtype = float_dtype(view.dtype);
  return dtype && *dtype != at::kDouble && float_type(*dtype) == type &&
         reinterpret_cast<std::uintptr_t>(view.data) % kernels::float_size(type) == 0;
}

bool all_finite(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) return tensor.isfinite().all().item<bool>();
  const auto dense = tensor.contiguous();
  return kernels::first_non_finite(dense.data_ptr(), float_type(dense.scalar_type()), dense.numel()) < 0;
}

void raise_non_finite(std::string_view name, const at::Tensor& source, at::ScalarType dtype) {
  const auto flat = source.detach().to(dtype).reshape({-1});
  const auto index = flat.isfinite().logical_not().nonzero()[0].item<std::int64_t>();
  raise_value(name, source.sizes().vec(), index, source.detach().reshape({-1})[index].item<double>(), dtype);
}

void raise_non_finite(const io::TensorView& view, at::ScalarType dtype) {
  const auto type = float_type(dtype);
  for (std::int64_t i = 0; i < view.elements(); ++i) {
    float rounded;
    kernels::store_float(&rounded, type, 0, static_cast<float>(value_at(view, i)));
    if (!std::isfinite(kernels::load_float(&rounded, type, 0))) {
      raise_value(view.name, view.shape, i, value_at(view, i), dtype);
    }
  }
  throw Error("internal error: all values of the tensor are finite");
}

}  // namespace lorica::quant
