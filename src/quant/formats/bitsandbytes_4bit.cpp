#include "quant/formats/bitsandbytes_4bit.hpp"

#include <cstring>

#include "kernels/blockwise_8bit.hpp"
#include "quant/composed.hpp"
#include "quant/cuda/dequantize.hpp"
#include "quant/values.hpp"

namespace lorica::quant {
namespace {

/// Double quantization: the absmax less their mean, in 8 bits. The mean is PyTorch's, whose last bit depends on its
/// number of threads, because bitsandbytes' is. Done on the CPU on all devices: it is 1/64 of the weight at most.
void quantize_absmax(StoredWeight& weight) {
  const auto device = weight.device();
  auto& absmax = weight.parts[Bitsandbytes4bit::kAbsmax];
  const auto here = absmax.to(at::kCPU);
  const auto mean = here.mean();
  const auto centred = (here - mean).contiguous();
  const std::int64_t blocks = centred.size(0);
  auto codes = at::empty({blocks}, at::kByte);
  auto nested = at::empty({kernels::block_count(blocks, kNestedBlockSize)}, at::kFloat);
  kernels::quantize_8bit(centred.data_ptr<float>(), blocks, kNestedBlockSize, codes.data_ptr<std::uint8_t>(),
                         nested.data_ptr<float>());
  auto map = at::empty({kNestedCodes}, at::kFloat);
  std::memcpy(map.data_ptr(), kernels::dynamic_map().data(), sizeof(kernels::dynamic_map()));
  absmax = codes.to(device);
  weight.parts.push_back(nested.to(device));
  weight.parts.push_back(map.to(device));
  weight.constants = {mean.item<float>()};
}

bool finish(StoredWeight& weight) {
  if (!all_finite(weight.parts[Bitsandbytes4bit::kAbsmax])) return false;
  if (weight.format.double_quant) quantize_absmax(weight);
  return true;
}

/// The absmax of every block, f32 [blocks].
at::Tensor block_absmax(const StoredWeight& weight) {
  const auto& absmax = weight.parts[Bitsandbytes4bit::kAbsmax];
  if (!weight.format.double_quant) return absmax;
  const auto& nested = weight.parts[Bitsandbytes4bit::kNestedAbsmax];
  const auto& map = weight.parts[Bitsandbytes4bit::kNestedCode];
  const auto offset = static_cast<float>(weight.constants.at(0));
  if (!absmax.is_cpu()) return dequantize_absmax_composed(absmax, map, nested, offset);
  auto out = at::empty(absmax.sizes(), at::kFloat);
  kernels::dequantize_8bit(absmax.data_ptr<std::uint8_t>(), map.data_ptr<float>(), nested.data_ptr<float>(),
                           out.numel(), kNestedBlockSize, offset, out.data_ptr<float>());
  return out;
}

}  // namespace

void Bitsandbytes4bit::check(const WeightFormat& format) const {
  const int size = format.block_size;
  if (size < 32 || size > 4096 || (size & (size - 1)) != 0) {
    raise<ConfigError>("block size {} of {} weights: use 32, 64, 128, 256, 512, 1024, 2048 or 4096", size, name_);
  }
}

std::string Bitsandbytes4bit::describe(const WeightFormat& format) const {
  return fmt::format("{} (blocks of {}{})", name_, format.block_size,
                     format.double_quant ? ", double quantization" : "");
}

std::vector<PartSpec> Bitsandbytes4bit::parts(const WeightFormat& format,
                                              const std::vector<std::int64_t>& shape) const {
  std::int64_t elements = 1;
  for (const auto size : shape) elements *= size;
  const auto blocks = kernels::block_count(elements, format.block_size);
  std::vector<PartSpec> parts{{"data", at::kByte, {kernels::packed_bytes(elements)}, blocks, format.block_size / 2},
                              rows_part("absmax", format.double_quant ? at::kByte : at::kFloat, {blocks})};
  if (format.double_quant) {
    parts.push_back(rows_part("nested_absmax", at::kFloat, {kernels::block_count(blocks, kNestedBlockSize)}));
    parts.push_back(rows_part("nested_code", at::kFloat, {kNestedCodes}));
  }
  return parts;
}

bool Bitsandbytes4bit::quantize(const at::Tensor& values, StoredWeight& weight) const {
  const std::int64_t n = values.numel(), block_size = weight.format.block_size;
  if (values.is_cpu()) {
    weight.parts = {at::empty({kernels::packed_bytes(n)}, at::kByte),
                    at::empty({kernels::block_count(n, block_size)}, at::kFloat)};
    kernels::quantize_4bit(code_, values.data_ptr(), float_type(values.scalar_type()), n, block_size,
                           weight.parts[kData].data_ptr<std::uint8_t>(), weight.parts[kAbsmax].data_ptr<float>());
  } else {
    const auto [packed, absmax] = quantize_4bit_composed(code_, values, block_size);
    weight.parts = {packed, absmax};
  }
  return finish(weight);
}

bool Bitsandbytes4bit::quantize(const io::TensorView& view, StoredWeight& weight,
                                const std::function<void(const io::TensorView&)>&) const {
  const auto type = float_type(weight.format.dtype);
  const std::int64_t n = weight.elements(), block_size = weight.format.block_size;
  weight.parts = {at::empty({kernels::packed_bytes(n)}, at::kByte),
                  at::empty({kernels::block_count(n, block_size)}, at::kFloat)};
  auto* packed = weight.parts[kData].data_ptr<std::uint8_t>();
  auto* absmax = weight.parts[kAbsmax].data_ptr<float>();
  if (readable_as(view, type)) {
    kernels::quantize_4bit(code_, view.data, type, n, block_size, packed, absmax);
    return finish(weight);
  }
  for_pieces(n, [&](std::int64_t first, std::int64_t count) {
    std::vector<float> buffer(static_cast<std::size_t>(count));  // large enough for 16-bit values, too
    convert_values(view, first, count, type, buffer.data());
    kernels::quantize_4bit(code_, buffer.data(), type, count, block_size, packed + first / 2,
                           absmax + first / block_size);
  });
  return finish(weight);
}

at::Tensor Bitsandbytes4bit::dequantize(const StoredWeight& weight, at::ScalarType dtype) const {
  const std::int64_t n = weight.elements(), block_size = weight.format.block_size;
  const auto& data = weight.data();
  const auto absmax = block_absmax(weight);
  if (is_float_type(dtype) && cuda::has_kernel(data)) {
    return cuda::dequantize_4bit(code_, data, absmax, n, block_size, dtype).view(weight.shape);
  }
  if (!data.is_cpu() || !is_float_type(dtype)) {
    return dequantize_4bit_composed(code_, data, absmax, n, block_size, dtype).view(weight.shape);
  }
  auto out = at::empty(weight.shape, dtype);
  kernels::dequantize_4bit(code_, data.data_ptr<std::uint8_t>(), absmax.data_ptr<float>(), n, block_size,
                           float_type(dtype), out.data_ptr());
  return out;
}

KernelWeight Bitsandbytes4bit::operand(const StoredWeight& weight) const {
  const auto absmax = block_absmax(weight);
  return {kernels::packed_matrix(code_, weight.data().data_ptr<std::uint8_t>(), absmax.data_ptr<float>(),
                                 weight.format.block_size, weight.shape.at(0), weight.shape.at(1)),
          {absmax}};
}

const Format& nf4_format() {
  static const Bitsandbytes4bit format("nf4", kernels::Code4::nf4);
  return format;
}

const Format& fp4_format() {
  static const Bitsandbytes4bit format("fp4", kernels::Code4::fp4);
  return format;
}

}  // namespace lorica::quant
