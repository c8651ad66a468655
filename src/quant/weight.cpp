// Weights by their format: each function asks the registry's object.
#include "quant/weight.hpp"

#include <nlohmann/json.hpp>

#include "io/plain_name.hpp"
#include "kernels/mode.hpp"
#include "quant/dtype_name.hpp"
#include "quant/format.hpp"
#include "quant/values.hpp"

namespace lorica::quant {
namespace {

// Below this many rows a dense weight is read once and hardly used: packing it would cost more than the product.
constexpr std::int64_t kFewRows = 16;

const Format* format_in(const io::WeightFiles& files, const std::string& weight_name) {
  for (const auto* format : formats()) {
    if (format->is_in(files, weight_name)) return format;
  }
  return nullptr;
}

}  // namespace

void to_json(nlohmann::json& json, const WeightFormat& format) {
  json = {{"name", format.name},
          {"dtype", static_cast<int>(format.dtype)},
          {"block_size", format.block_size},
          {"double_quant", format.double_quant}};
}

void from_json(const nlohmann::json& json, WeightFormat& format) {
  format.name = json.at("name").get<std::string>();
  format.dtype = static_cast<at::ScalarType>(json.at("dtype").get<int>());
  format.block_size = json.at("block_size").get<int>();
  format.double_quant = json.at("double_quant").get<bool>();
}

std::int64_t StoredWeight::elements() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

std::vector<std::pair<std::string, at::Tensor>> StoredWeight::components() const {
  std::vector<std::pair<std::string, at::Tensor>> named;
  const auto specs = find_format(format.name).parts(format, shape);
  for (std::size_t i = 0; i < parts.size(); ++i) named.emplace_back(specs.at(i).name, parts[i]);
  return named;
}

std::uint64_t StoredWeight::bytes() const {
  std::uint64_t total = 0;
  for (const auto& part : parts) total += part.nbytes();
  return total;
}

StoredWeight StoredWeight::to(at::Device device) const {
  StoredWeight moved = *this;
  for (auto& part : moved.parts) part = part.to(device);
  return moved;
}

void check_format(const WeightFormat& format) {
  if (!is_float_type(format.dtype)) {
    raise<ConfigError>("a weight can't be kept as {}: use float32, bfloat16 or float16", dtype_name(format.dtype));
  }
  find_format(format.name).check(format);
}

std::string describe(const WeightFormat& format) {
  return find_format(format.name).describe(format);
}

StoredWeight dense_weight(const at::Tensor& tensor) {
  StoredWeight weight;
  weight.format.dtype = tensor.scalar_type();
  weight.shape = tensor.sizes().vec();
  weight.parts = {tensor};
  return weight;
}

StoredWeight store(const at::Tensor& weight, const WeightFormat& format, std::string_view name) {
  if (!is_float_type(weight.scalar_type())) {
    raise<ModelError>("tensor '{}' is {}: a weight must be float32, bfloat16 or float16", name,
                      dtype_name(weight.scalar_type()));
  }
  check_format(format);
  if (!format.quantized()) {
    auto stored = dense_weight(weight.to(format.dtype));
    stored.format = format;
    if (!all_finite(stored.data())) raise_non_finite(name, weight, format.dtype);
    return stored;
  }
  if (weight.numel() == 0) {
    raise<ModelError>("tensor '{}' of shape [{}] has no values to quantize", name, fmt::join(weight.sizes(), ", "));
  }
  StoredWeight stored{format, weight.sizes().vec(), {}, {}};
  const auto& object = find_format(format.name);
  object.parts(format, stored.shape);
  const auto values = weight.detach().to(format.dtype).contiguous();
  if (!object.quantize(values, stored)) raise_non_finite(name, weight, object.rounds_to(format));
  return stored;
}

StoredWeight store_from(const io::TensorView& view, const WeightFormat& format,
                        const std::function<void(const io::TensorView& part)>& done_with) {
  if (!float_dtype(view.dtype)) {
    raise<ModelError>("tensor '{}' is {}: a weight must be float32, bfloat16, float16 or float64", view.name,
                      io::plain_name(view.dtype));
  }
  check_format(format);
  if (format.quantized() && view.elements() == 0) {
    raise<ModelError>("tensor '{}' of shape [{}] has no values to quantize", view.name, fmt::join(view.shape, ", "));
  }
  ensure(static_cast<std::size_t>(view.elements()) * io::dtype_size(view.dtype) == view.bytes,
         "tensor '{}' has {} bytes", view.name, view.bytes);
  const auto& object = find_format(format.name);
  object.parts(format, view.shape);
  StoredWeight stored{format, view.shape, {}, {}};
  if (!object.quantize(view, stored, done_with)) raise_non_finite(view, object.rounds_to(format));
  return stored;
}

at::Tensor dequantize(const StoredWeight& weight, at::ScalarType dtype) {
  return find_format(weight.format.name).dequantize(weight, dtype);
}

bool is_prequantized(const io::WeightFiles& files, const std::string& weight_name) {
  return format_in(files, weight_name) != nullptr;
}

StoredWeight load_prequantized(const io::WeightFiles& files, const std::string& weight_name) {
  const auto* format = format_in(files, weight_name);
  if (format == nullptr) {
    const auto file = files.find(weight_name) ? files.file_of(weight_name) : files.folder();
    raise<ModelError>("tensor '{}' in {}: is not quantized in a format that Lorica knows: nothing beside it says how",
                      weight_name, file.string());
  }
  return format->load(files, weight_name);
}

std::optional<PackedWeight> describe_prequantized(const io::WeightFiles& files, const std::string& weight_name) {
  const auto* format = format_in(files, weight_name);
  return format == nullptr ? std::nullopt : std::optional(format->describe_in(files, weight_name));
}

std::string packed_weight_of(std::string_view tensor_name) {
  for (const auto* format : formats()) {
    for (const auto& companion : format->companions()) {
      const auto end = "." + companion;
      if (!tensor_name.ends_with(end)) continue;
      return std::string(tensor_name.substr(0, tensor_name.size() - end.size())) + ".weight";
    }
  }
  return "";
}

bool is_quantization_part(std::string_view tensor_name) {
  return !packed_weight_of(tensor_name).empty();
}

std::vector<CheckpointTensor> to_checkpoint(const StoredWeight& weight, const std::string& weight_name) {
  return find_format(weight.format.name).save(weight, weight_name);
}

bool has_kernel(const at::Tensor& x, const StoredWeight& weight) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.numel() == 0 || !weight.data().is_cpu()) return false;
  if (!kernels::has_kernels()) return false;
  if (!find_format(weight.format.name).has_operand(weight)) return false;
  return weight.quantized() || x.numel() / x.size(-1) >= kFewRows;
}

KernelWeight kernel_weight(const StoredWeight& weight) {
  return find_format(weight.format.name).operand(weight);
}

kernels::MatrixSource matrix_of(const at::Tensor& tensor) {
  ensure(tensor.dim() == 2 && tensor.is_cpu() && (tensor.stride(1) == 1 || tensor.size(1) == 1),
         "an operand of shape [{}] whose rows are not contiguous", fmt::join(tensor.sizes(), ", "));
  return kernels::dense_matrix(tensor.const_data_ptr(), float_type(tensor.scalar_type()), tensor.size(0),
                               tensor.size(1), std::max(tensor.stride(0), tensor.size(1)));
}

}  // namespace lorica::quant
