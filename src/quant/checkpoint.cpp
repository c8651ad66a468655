// 4-bit weights in checkpoints, as bitsandbytes' QuantState writes and reads them: five tensors beside the weight, one
// of which is a JSON text as bytes.
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "io/plain_name.hpp"
#include "io/safetensors.hpp"
#include "kernels/blockwise_8bit.hpp"
#include "kernels/finite.hpp"
#include "quant/layout.hpp"

namespace lorica::quant {
namespace {

using nlohmann::json;

const char* dtype_text(at::ScalarType dtype) {
  return kernels::float_name(float_type(dtype)).data();
}

/// A float's value as Python's repr() of a double, which is what json.dumps writes.
std::string python_float(double value) {
  const double magnitude = std::fabs(value);
  const bool fixed = magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  char text[64];
  const auto end =
      std::to_chars(text, text + sizeof text, value, fixed ? std::chars_format::fixed : std::chars_format::scientific);
  std::string result(text, end.ptr);
  if (fixed && result.find('.') == std::string::npos) result += ".0";
  return result;
}

std::string state_text(const StoredWeight& weight) {
  auto text = fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}])",
                          kind_name(weight.format.kind), weight.format.block_size, dtype_text(weight.format.dtype),
                          fmt::join(weight.shape, ", "));
  if (weight.nested_absmax.defined()) {
    text += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})", kNestedBlockSize,
                        python_float(weight.offset));
  }
  return text + "}";
}

at::Tensor copy_of(const void* data, std::int64_t count, at::ScalarType dtype) {
  auto tensor = at::empty({count}, dtype);
  std::memcpy(tensor.data_ptr(), data, tensor.nbytes());
  return tensor;
}

/// Reads the parts of one weight, each failure naming the tensor and its file.
class Reader {
 public:
  Reader(const io::WeightFiles& files, const std::string& name) : files_(files), name_(name) {}

  template <class... Args>
  [[noreturn]] void fail(const std::string& part, fmt::format_string<Args...> format, Args&&... args) const {
    const auto tensor = name_ + part;
    const auto file = files_.find(tensor) ? files_.file_of(tensor) : files_.folder();
    raise<ModelError>("tensor '{}' in {}: {}", tensor, file.string(), fmt::format(format, std::forward<Args>(args)...));
  }

  /// The tensor `name + part`, which must have this dtype and count (any count if negative).
  const io::TensorView& part(const std::string& part, io::Dtype dtype, std::int64_t count) const {
    const auto* view = files_.find(name_ + part);
    if (!view) fail(part, "missing, though the weight is quantized by bitsandbytes");
    if (view->dtype != dtype || (count >= 0 && view->elements() != count)) {
      fail(part, "is {} with {} values, expected {} with {}", io::plain_name(view->dtype), view->elements(),
           io::plain_name(dtype), count);
    }
    return *view;
  }

  /// A part as a float32 tensor of finite values.
  at::Tensor floats(const std::string& suffix, std::int64_t count) const {
    const auto& view = part(suffix, io::Dtype::f32, count);
    const auto tensor = copy_of(view.data, count, at::kFloat);
    const auto bad = kernels::first_non_finite(tensor.data_ptr(), kernels::FloatType::f32, count);
    if (bad >= 0) fail(suffix, "value {} is not finite: the file is damaged", bad);
    return tensor;
  }

  const io::WeightFiles& files() const { return files_; }

 private:
  const io::WeightFiles& files_;
  std::string name_;
};

std::string state_suffix(Kind kind) {
  return fmt::format(".quant_state.bitsandbytes__{}", kind_name(kind));
}

/// The JSON state: format, shape, offset; and whether there is a nested state.
struct State {
  WeightFormat format;
  std::vector<std::int64_t> shape;
  float offset = 0;
};

std::vector<std::int64_t> parse_shape(const json& value) {
  std::vector<std::int64_t> shape;
  std::int64_t count = 1;
  for (const auto& size : value) {
    const auto extent = size.get<std::int64_t>();
    if (extent <= 0 || __builtin_mul_overflow(count, extent, &count)) throw std::out_of_range("shape");
    shape.push_back(extent);
  }
  if (shape.empty()) throw std::out_of_range("shape");
  return shape;
}

State parse_state(const Reader& reader, Kind kind) {
  const auto suffix = state_suffix(kind);
  const auto& view = reader.part(suffix, io::Dtype::u8, -1);
  const std::string_view text(reinterpret_cast<const char*>(view.data), view.bytes);
  State state;
  state.format.kind = kind;
  try {
    const auto fields = json::parse(text);
    if (fields.at("quant_type").get<std::string>() != kind_name(kind)) {
      reader.fail(suffix, "quant_type is {}, not {}", fields.at("quant_type").dump(), kind_name(kind));
    }
    const auto dtype = fields.at("dtype").get<std::string>();
    if (dtype != "float32" && dtype != "bfloat16" && dtype != "float16") {
      reader.fail(suffix, "dtype '{}' is none of float32, bfloat16, float16", dtype);
    }
    state.format.dtype = dtype == "float32" ? at::kFloat : dtype == "bfloat16" ? at::kBFloat16 : at::kHalf;
    state.format.block_size = fields.at("blocksize").get<int>();
    state.shape = parse_shape(fields.at("shape"));
    state.format.double_quant = fields.contains("nested_blocksize");
    if (state.format.double_quant) {
      state.offset = static_cast<float>(fields.at("nested_offset").get<double>());
      const auto nested_dtype = fields.at("nested_dtype").get<std::string>();
      const auto nested_block = fields.at("nested_blocksize").get<std::int64_t>();
      if (nested_block != kNestedBlockSize || nested_dtype != "float32" || !std::isfinite(state.offset)) {
        reader.fail(suffix, "nested state of block size {}, {}, offset {}: only 256, float32, finite are known",
                    nested_block, nested_dtype, state.offset);
      }
    }
    check_format(state.format);
  } catch (const ConfigError& error) {
    reader.fail(suffix, "{}", error.what());
  } catch (const json::exception& error) {
    reader.fail(suffix, "is not the JSON text that bitsandbytes writes: {}", error.what());
  } catch (const std::out_of_range&) {
    reader.fail(suffix, "its shape is not a list of positive sizes");
  }
  return state;
}

std::optional<Kind> kind_of(const io::WeightFiles& files, const std::string& weight_name) {
  for (const auto kind : {Kind::nf4, Kind::fp4}) {
    if (files.find(weight_name + state_suffix(kind))) return kind;
  }
  return std::nullopt;
}

void check_code(const Reader& reader, Kind kind) {
  const auto map = reader.floats(".quant_map", 16);
  const auto& values = kernels::code4_values(code_of(kind));
  for (std::size_t i = 0; i < 16; ++i) {
    const float found = map.data_ptr<float>()[i];
    // Older versions rounded some entries differently in the last digits.
    if (std::fabs(found - values[i]) > 1e-6f) {
      reader.fail(".quant_map", "entry {} is {}, but {} has {} there: an unknown variant", i, found, kind_name(kind),
                  values[i]);
    }
  }
}

}  // namespace

bool is_prequantized(const io::WeightFiles& files, const std::string& weight_name) {
  return kind_of(files, weight_name).has_value();
}

StoredWeight load_prequantized(const io::WeightFiles& files, const std::string& weight_name) {
  const Reader reader(files, weight_name);
  const auto kind = kind_of(files, weight_name);
  if (!kind) reader.fail("", "is not quantized by bitsandbytes in 4 bits: it has no '.quant_state' beside it");
  const auto state = parse_state(reader, *kind);
  StoredWeight weight;
  weight.format = state.format;
  weight.shape = state.shape;
  weight.offset = state.offset;
  const std::int64_t n = weight.elements(), blocks = kernels::block_count(n, state.format.block_size);
  // The bytes may be stored under any dtype (bitsandbytes' quant_storage); what counts is how many there are.
  const auto& packed = files.at(weight_name);
  if (packed.bytes != static_cast<std::size_t>(kernels::packed_bytes(n))) {
    reader.fail("", "has {} bytes, but shape [{}] packs into {}", packed.bytes, fmt::join(state.shape, ", "),
                kernels::packed_bytes(n));
  }
  check_code(reader, *kind);
  weight.data = copy_of(packed.data, kernels::packed_bytes(n), at::kByte);
  if (!state.format.double_quant) {
    weight.absmax = reader.floats(".absmax", blocks);
    return weight;
  }
  weight.absmax = copy_of(reader.part(".absmax", io::Dtype::u8, blocks).data, blocks, at::kByte);
  weight.nested_absmax = reader.floats(".nested_absmax", kernels::block_count(blocks, kNestedBlockSize));
  weight.nested_code = reader.floats(".nested_quant_map", 256);
  return weight;
}

std::vector<CheckpointTensor> to_checkpoint(const StoredWeight& weight, const std::string& weight_name) {
  const auto dense_dtype = [](at::ScalarType dtype) {
    return dtype == at::kFloat ? io::Dtype::f32 : dtype == at::kBFloat16 ? io::Dtype::bf16 : io::Dtype::f16;
  };
  std::vector<CheckpointTensor> tensors;
  const auto add = [&](const std::string& suffix, io::Dtype dtype, std::vector<std::int64_t> shape,
                       const at::Tensor& tensor) {
    tensors.push_back({weight_name + suffix, dtype, std::move(shape), tensor.detach().to(at::kCPU).contiguous()});
  };
  if (!weight.quantized()) {
    add("", dense_dtype(weight.format.dtype), weight.shape, weight.data);
    return tensors;
  }
  const auto& code = kernels::code4_values(code_of(weight.format.kind));
  const auto text = state_text(weight);
  const auto text_bytes = static_cast<std::int64_t>(text.size());
  const std::int64_t blocks = weight.absmax.size(0);
  const bool nested = weight.nested_absmax.defined();
  add("", io::Dtype::u8, {weight.data.size(0), 1}, weight.data);
  add(".absmax", nested ? io::Dtype::u8 : io::Dtype::f32, {blocks}, weight.absmax);
  add(".quant_map", io::Dtype::f32, {16}, copy_of(code.data(), 16, at::kFloat));
  if (nested) {
    add(".nested_absmax", io::Dtype::f32, {weight.nested_absmax.size(0)}, weight.nested_absmax);
    add(".nested_quant_map", io::Dtype::f32, {256}, weight.nested_code);
  }
  add(state_suffix(weight.format.kind), io::Dtype::u8, {text_bytes}, copy_of(text.data(), text_bytes, at::kByte));
  return tensors;
}

}  // namespace lorica::quant
