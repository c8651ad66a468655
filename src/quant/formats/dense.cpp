// Not quantized: the values themselves, in float32, bfloat16 or float16.
#include "kernels/float_type.hpp"
#include "quant/dtype_name.hpp"
#include "quant/formats/formats.hpp"
#include "quant/values.hpp"

namespace lorica::quant {
namespace {

class DenseFormat : public Format {
 public:
  std::string_view name() const override { return "dense"; }
  void check(const WeightFormat&) const override {}
  std::string describe(const WeightFormat& format) const override { return std::string(dtype_name(format.dtype)); }
  std::vector<PartSpec> parts(const WeightFormat& format, const std::vector<std::int64_t>& shape) const override {
    return {rows_part("data", format.dtype, shape)};
  }

  bool quantize(const at::Tensor& values, StoredWeight& weight) const override {
    weight.parts = {values};
    return all_finite(values);
  }

  bool quantize(const io::TensorView& view, StoredWeight& weight,
                const std::function<void(const io::TensorView&)>& done_with) const override {
    const auto data = at::empty(weight.shape, weight.format.dtype);
    const auto type = float_type(weight.format.dtype);
    for_pieces(data.numel(), [&](std::int64_t first, std::int64_t count) {
      convert_values(view, first, count, type, kernels::element_at(data.data_ptr(), type, first));
      if (!done_with) return;
      const std::size_t size = io::dtype_size(view.dtype);
      auto part = view;
      part.shape = {count};
      part.data += static_cast<std::size_t>(first) * size;
      part.bytes = static_cast<std::size_t>(count) * size;
      done_with(part);
    });
    weight.parts = {data};
    return all_finite(data);
  }

  at::Tensor dequantize(const StoredWeight& weight, at::ScalarType dtype) const override {
    return weight.data().to(dtype);
  }

  bool has_operand(const StoredWeight& weight) const override {
    const auto& data = weight.data();
    return is_float_type(data.scalar_type()) && data.dim() == 2 && data.is_contiguous();
  }
  KernelWeight operand(const StoredWeight& weight) const override { return {matrix_of(weight.data()), {}}; }

  bool is_in(const io::WeightFiles&, const std::string&) const override { return false; }
  PackedWeight describe_in(const io::WeightFiles&, const std::string& weight_name) const override {
    throw Error("internal error: " + weight_name + " isn't quantized");
  }
  StoredWeight load(const io::WeightFiles&, const std::string& weight_name) const override {
    throw Error("internal error: " + weight_name + " isn't quantized, and is read by store_from()");
  }
  std::vector<CheckpointTensor> save(const StoredWeight& weight, const std::string& weight_name) const override {
    return {
        {weight_name, file_dtype(weight.format.dtype), weight.shape, weight.data().detach().to(at::kCPU).contiguous()}};
  }
  std::vector<std::string> companions() const override { return {}; }
};

}  // namespace

const Format& dense_format() {
  static const DenseFormat format;
  return format;
}

}  // namespace lorica::quant
