// Weights into their stored form: from tensors, and straight from mapped files, in parallel pieces.
#include <cstring>
#include <optional>

#include "base/parallel.hpp"
#include "io/plain_name.hpp"
#include "io/safetensors.hpp"
#include "kernels/blockwise_8bit.hpp"
#include "kernels/finite.hpp"
#include "quant/composed.hpp"
#include "quant/dtype_name.hpp"
#include "quant/layout.hpp"

namespace lorica::quant {
namespace {

// A piece is a whole number of blocks of every size, and its float copy stays in the second-level cache.
constexpr std::int64_t kPieceValues = 1 << 16;

std::string position(std::int64_t index, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> at(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    at[i] = index % shape[i];
    index /= shape[i];
  }
  return fmt::format("[{}]", fmt::join(at, ", "));
}

[[noreturn]] void raise_non_finite(std::string_view name, const std::vector<std::int64_t>& shape, std::int64_t index,
                                   double value, at::ScalarType dtype) {
  if (std::isfinite(value)) {
    raise<ModelError>("tensor '{}': the value {} at {} is too large for {}: load the model as bfloat16 or float32",
                      name, value, position(index, shape), dtype_name(dtype));
  }
  raise<ModelError>("tensor '{}' holds {} at {}: the model file is damaged or its training diverged", name, value,
                    position(index, shape));
}

/// A weight of `format` and `shape` with its tensors allocated, not filled; absmax still in float32.
StoredWeight allocate(const WeightFormat& format, const std::vector<std::int64_t>& shape, std::string_view name) {
  check_format(format);
  StoredWeight weight;
  weight.format = format;
  weight.shape = shape;
  if (!weight.quantized()) {
    weight.data = at::empty(shape, format.dtype);
    return weight;
  }
  const std::int64_t n = weight.elements();
  if (n == 0) raise<ModelError>("tensor '{}' of shape [{}] has no values to quantize", name, fmt::join(shape, ", "));
  weight.data = at::empty({kernels::packed_bytes(n)}, at::kByte);
  weight.absmax = at::empty({kernels::block_count(n, format.block_size)}, at::kFloat);
  return weight;
}

/// Double quantization: the absmax less their mean, in 8 bits. The mean is PyTorch's, whose last bit depends on its
/// number of threads, because bitsandbytes' is. Done on the CPU on all devices: it is 1/64 of the weight at most.
void quantize_absmax(StoredWeight& weight) {
  const auto device = weight.device();
  const auto absmax = weight.absmax.to(at::kCPU);
  const auto mean = absmax.mean();
  const auto centred = (absmax - mean).contiguous();
  const std::int64_t blocks = centred.size(0);
  auto codes = at::empty({blocks}, at::kByte);
  auto nested = at::empty({kernels::block_count(blocks, kNestedBlockSize)}, at::kFloat);
  kernels::quantize_8bit(centred.data_ptr<float>(), blocks, kNestedBlockSize, codes.data_ptr<std::uint8_t>(),
                         nested.data_ptr<float>());
  auto map = at::empty({256}, at::kFloat);
  std::memcpy(map.data_ptr(), kernels::dynamic_map().data(), sizeof(kernels::dynamic_map()));
  weight.absmax = codes.to(device);
  weight.nested_absmax = nested.to(device);
  weight.nested_code = map.to(device);
  weight.offset = mean.item<float>();
}

bool all_finite(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) return tensor.isfinite().all().item<bool>();
  const auto dense = tensor.contiguous();
  return kernels::first_non_finite(dense.data_ptr(), float_type(dense.scalar_type()), dense.numel()) < 0;
}

void check_finite(const at::Tensor& source, const at::Tensor& stored, std::string_view name, at::ScalarType dtype) {
  if (all_finite(stored)) return;
  const auto flat = source.detach().to(dtype).reshape({-1});
  const auto index = flat.isfinite().logical_not().nonzero()[0].item<std::int64_t>();
  raise_non_finite(name, source.sizes().vec(), index, source.reshape({-1})[index].item<double>(), dtype);
}

std::optional<at::ScalarType> torch_dtype(io::Dtype dtype) {
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
  return kernels::load_float(element, float_type(*torch_dtype(view.dtype)), 0);
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

/// `count` values from `first` on, in `type`, written to `out`.
void convert(const io::TensorView& view, std::int64_t first, std::int64_t count, kernels::FloatType type, void* out) {
  const std::size_t size = io::dtype_size(view.dtype);
  const std::byte* in = view.data + static_cast<std::size_t>(first) * size;
  if (torch_dtype(view.dtype) != at::kDouble && float_type(*torch_dtype(view.dtype)) == type) {
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
    default:  // store_from let nothing else in
      return convert_elements<std::uint16_t>(in, count, type, out, kernels::f16_to_float);
  }
}

/// Calls body(first, count) for pieces of [0, n), on all threads.
template <class Body>
void for_pieces(std::int64_t n, const Body& body) {
  parallel_for((n + kPieceValues - 1) / kPieceValues, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t first = piece * kPieceValues;
      body(first, std::min(kPieceValues, n - first));
    }
  });
}

void quantize_view(const io::TensorView& view, StoredWeight& weight) {
  const auto code = code_of(weight.format.kind);
  const auto type = float_type(weight.format.dtype);
  const std::int64_t n = weight.elements(), block_size = weight.format.block_size;
  auto* packed = weight.data.data_ptr<std::uint8_t>();
  auto* absmax = weight.absmax.data_ptr<float>();
  const bool aligned = reinterpret_cast<std::uintptr_t>(view.data) % kernels::float_size(type) == 0;
  if (aligned && torch_dtype(view.dtype) == weight.format.dtype) {
    kernels::quantize_4bit(code, view.data, type, n, block_size, packed, absmax);
    return;
  }
  for_pieces(n, [&](std::int64_t first, std::int64_t count) {
    std::vector<float> buffer(static_cast<std::size_t>(count));  // large enough for 16-bit values, too
    convert(view, first, count, type, buffer.data());
    kernels::quantize_4bit(code, buffer.data(), type, count, block_size, packed + first / 2,
                           absmax + first / block_size);
  });
}

}  // namespace

StoredWeight store(const at::Tensor& weight, const WeightFormat& format, std::string_view name) {
  if (!is_float_type(weight.scalar_type())) {
    raise<ModelError>("tensor '{}' is {}: a weight must be float32, bfloat16 or float16", name,
                      dtype_name(weight.scalar_type()));
  }
  check_format(format);
  if (format.kind == Kind::dense) {
    StoredWeight stored;
    stored.format = format;
    stored.shape = weight.sizes().vec();
    stored.data = weight.to(format.dtype);
    check_finite(weight, stored.data, name, format.dtype);
    return stored;
  }
  auto stored = allocate(format, weight.sizes().vec(), name);
  const auto values = weight.detach().to(format.dtype).contiguous();
  if (values.is_cpu()) {
    kernels::quantize_4bit(code_of(format.kind), values.data_ptr(), float_type(format.dtype), values.numel(),
                           format.block_size, stored.data.data_ptr<std::uint8_t>(), stored.absmax.data_ptr<float>());
  } else {
    std::tie(stored.data, stored.absmax) = quantize_4bit_composed(code_of(format.kind), values, format.block_size);
  }
  check_finite(weight.detach(), stored.absmax, name, format.dtype);
  if (format.double_quant) quantize_absmax(stored);
  return stored;
}

StoredWeight store_from(const io::TensorView& view, const WeightFormat& format,
                        const std::function<void(const io::TensorView& part)>& done_with) {
  if (!torch_dtype(view.dtype)) {
    raise<ModelError>("tensor '{}' is {}: a weight must be F32, BF16, F16 or F64", view.name,
                      io::plain_name(view.dtype));
  }
  auto stored = allocate(format, view.shape, view.name);
  ensure(static_cast<std::size_t>(view.elements()) * io::dtype_size(view.dtype) == view.bytes,
         "tensor '{}' has {} bytes", view.name, view.bytes);
  if (stored.quantized()) {
    quantize_view(view, stored);
  } else {
    const auto type = float_type(format.dtype);
    for_pieces(stored.elements(), [&](std::int64_t first, std::int64_t count) {
      convert(view, first, count, type, kernels::element_at(stored.data.data_ptr(), type, first));
      if (!done_with) return;
      const std::size_t size = io::dtype_size(view.dtype);
      auto part = view;
      part.shape = {count};
      part.data += static_cast<std::size_t>(first) * size;
      part.bytes = static_cast<std::size_t>(count) * size;
      done_with(part);
    });
  }
  if (!all_finite(stored.quantized() ? stored.absmax : stored.data)) {
    const auto type = float_type(format.dtype);
    for (std::int64_t i = 0; i < stored.elements(); ++i) {
      float rounded;
      kernels::store_float(&rounded, type, 0, static_cast<float>(value_at(view, i)));
      if (!std::isfinite(kernels::load_float(&rounded, type, 0))) {
        raise_non_finite(view.name, view.shape, i, value_at(view, i), format.dtype);
      }
    }
  }
  if (stored.quantized() && format.double_quant) quantize_absmax(stored);
  return stored;
}

}  // namespace lorica::quant
