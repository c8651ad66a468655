// int8: each row as signed bytes with its largest magnitude, as bitsandbytes keeps the weights of its 8-bit layers
// (LLM.int8()). Formula and source: kernels/rowwise_8bit.hpp. Activations are not quantized here: the product is that
// of the dequantized weight.
//
// Parts of a weight [out, in]: data, i8 [out, in]; absmax, f32 [out]. In a checkpoint they are X.weight (I8) and X.SCB
// (F32), with X.weight_format (U8, one value: 0, rows).
#include <array>

#include "kernels/rowwise_8bit.hpp"
#include "quant/formats/checkpoint_reader.hpp"
#include "quant/formats/formats.hpp"
#include "quant/values.hpp"

namespace lorica::quant {
namespace {

constexpr std::string_view kScales = "SCB", kLayout = "weight_format";

/// "…q_proj." of "…q_proj.weight"; empty if the name doesn't end so.
std::string module_prefix(const std::string& weight_name) {
  constexpr std::string_view kEnd = "weight";
  return weight_name.ends_with(".weight") ? weight_name.substr(0, weight_name.size() - kEnd.size()) : std::string();
}

class Bitsandbytes8bit : public Format {
 public:
  enum Part : std::size_t { kData, kAbsmax };

  std::string_view name() const override { return "int8"; }
  void check(const WeightFormat&) const override {}
  std::string describe(const WeightFormat&) const override { return "int8 (a scale for each row)"; }
  std::vector<PartSpec> parts(const WeightFormat&, const std::vector<std::int64_t>& shape) const override {
    if (shape.size() != 2) {
      raise<ModelError>("a weight of shape [{}] has no rows to be quantized to int8", fmt::join(shape, ", "));
    }
    return {rows_part("data", at::kChar, shape), rows_part("absmax", at::kFloat, {shape[0]})};
  }

  at::ScalarType rounds_to(const WeightFormat&) const override { return at::kHalf; }

  bool quantize(const at::Tensor& values, StoredWeight& weight) const override {
    if (!values.is_cpu()) return quantize_composed(values, weight);
    allocate(weight);
    rows(values.const_data_ptr(), float_type(values.scalar_type()), 0, weight.shape[0], weight);
    return all_finite(weight.parts[kAbsmax]);
  }

  bool quantize(const io::TensorView& view, StoredWeight& weight,
                const std::function<void(const io::TensorView&)>&) const override {
    allocate(weight);
    const auto type = float_type(weight.format.dtype);
    const auto height = weight.shape[0], columns = weight.shape[1];
    if (readable_as(view, type)) {
      rows(view.data, type, 0, height, weight);
      return all_finite(weight.parts[kAbsmax]);
    }
    const auto step = std::max<std::int64_t>(1, kPieceValues / columns);
    std::vector<float> piece(static_cast<std::size_t>(std::min(step, height) * columns));
    for (std::int64_t row = 0; row < height; row += step) {
      const auto count = std::min(step, height - row);
      convert_values(view, row * columns, count * columns, type, piece.data());
      rows(piece.data(), type, row, count, weight);
    }
    return all_finite(weight.parts[kAbsmax]);
  }

  at::Tensor dequantize(const StoredWeight& weight, at::ScalarType dtype) const override {
    const auto scales = weight.parts[kAbsmax] * (1.0f / 127.0f);
    const auto& data = weight.data();
    if (!data.is_cpu() || !is_float_type(dtype)) return (data.to(at::kFloat) * scales.unsqueeze(1)).to(dtype);
    auto out = at::empty(weight.shape, dtype);
    kernels::dequantize_rows_8bit(data.const_data_ptr<std::int8_t>(), scales.const_data_ptr<float>(), weight.shape[0],
                                  weight.shape[1], float_type(dtype), out.data_ptr());
    return out;
  }

  bool has_operand(const StoredWeight&) const override { return true; }
  KernelWeight operand(const StoredWeight& weight) const override {
    const auto scales = weight.parts[kAbsmax] * (1.0f / 127.0f);
    return {kernels::byte_matrix(weight.data().const_data_ptr<std::int8_t>(), scales.const_data_ptr<float>(),
                                 weight.shape[0], weight.shape[1]),
            {scales}};
  }

  bool is_in(const io::WeightFiles& files, const std::string& weight_name) const override {
    const auto module = module_prefix(weight_name);
    const auto* view = module.empty() ? nullptr : files.find(weight_name);
    return view != nullptr && view->dtype == io::Dtype::i8 && files.find(module + std::string(kScales)) != nullptr;
  }

  PackedWeight describe_in(const io::WeightFiles& files, const std::string& weight_name) const override {
    const CheckpointReader reader(files, module_prefix(weight_name));
    const auto& view = reader.part("weight", io::Dtype::i8, -1);
    if (view.shape.size() != 2 || view.elements() == 0) {
      reader.fail("weight", "has shape [{}], but 8-bit weights are matrices", fmt::join(view.shape, ", "));
    }
    const auto* layout = files.find(module_prefix(weight_name) + std::string(kLayout));
    if (layout != nullptr && (layout->bytes != 1 || layout->data[0] != std::byte{0})) {
      reader.fail(std::string(kLayout),
                  "names a layout for one GPU's instructions; only rows (0) are known. Save the "
                  "model with bitsandbytes 0.45 or newer.");
    }
    WeightFormat format;
    format.name = name();
    format.dtype = at::kHalf;  // what bitsandbytes rounds to; the checkpoint doesn't say what came before
    return {std::move(format), view.shape};
  }

  StoredWeight load(const io::WeightFiles& files, const std::string& weight_name) const override {
    auto [format, shape] = describe_in(files, weight_name);
    const CheckpointReader reader(files, module_prefix(weight_name));
    const auto& view = files.at(weight_name);
    StoredWeight weight{std::move(format), std::move(shape), {}, {}};
    weight.parts = {copy_of(view.data, view.elements(), at::kChar).view(view.shape),
                    reader.floats(std::string(kScales), view.shape[0])};
    return weight;
  }

  std::vector<CheckpointTensor> save(const StoredWeight& weight, const std::string& weight_name) const override {
    const auto module = module_prefix(weight_name);
    ensure(!module.empty(), "'{}' can't be saved as an 8-bit weight", weight_name);
    return {{weight_name, io::Dtype::i8, weight.shape, weight.data().to(at::kCPU).contiguous()},
            {module + std::string(kScales), io::Dtype::f32, {weight.shape[0]}, weight.parts[kAbsmax].to(at::kCPU)},
            {module + std::string(kLayout), io::Dtype::u8, {}, at::zeros({}, at::kByte)}};
  }

  std::vector<std::string> companions() const override { return {std::string(kScales), std::string(kLayout)}; }

 private:
  static void allocate(StoredWeight& weight) {
    weight.parts = {at::empty(weight.shape, at::kChar), at::empty({weight.shape[0]}, at::kFloat)};
  }

  /// Rows [first, first + count) from `source`, which begins with them.
  static void rows(const void* source, kernels::FloatType type, std::int64_t first, std::int64_t count,
                   StoredWeight& weight) {
    const auto columns = weight.shape[1];
    kernels::quantize_rows_8bit(source, type, count, columns,
                                weight.parts[kData].data_ptr<std::int8_t>() + first * columns,
                                weight.parts[kAbsmax].data_ptr<float>() + first);
  }

  static bool quantize_composed(const at::Tensor& values, StoredWeight& weight) {
    const auto rounded = values.to(at::kHalf).to(at::kFloat);
    const auto absmax = rounded.abs().amax(1);
    const auto factor = at::where(absmax == 0, at::zeros_like(absmax), absmax.reciprocal() * 127.0f);
    weight.parts = {(rounded * factor.unsqueeze(1)).round().to(at::kChar), absmax};
    return all_finite(absmax);
  }
};

}  // namespace

const Format& int8_format() {
  static const Bitsandbytes8bit format;
  return format;
}

}  // namespace lorica::quant
