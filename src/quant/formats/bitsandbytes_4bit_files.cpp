// 4-bit weights in checkpoints, as bitsandbytes' QuantState writes and reads them: five tensors beside the weight, one
// of which is a JSON text as bytes.
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "io/json.hpp"
#include "io/safetensors.hpp"
#include "quant/formats/bitsandbytes_4bit.hpp"
#include "quant/formats/checkpoint_reader.hpp"
#include "quant/values.hpp"

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
  auto text = fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}])", weight.format.name,
                          weight.format.block_size, dtype_text(weight.format.dtype), fmt::join(weight.shape, ", "));
  if (weight.format.double_quant) {
    text += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})", kNestedBlockSize,
                        python_float(weight.constants.at(0)));
  }
  return text + "}";
}

std::string state_suffix(std::string_view format) {
  return fmt::format(".quant_state.bitsandbytes__{}", format);
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

State parse_state(const CheckpointReader& reader, std::string_view name) {
  const auto suffix = state_suffix(name);
  const auto& view = reader.part(suffix, io::Dtype::u8, -1);
  const std::string_view text(reinterpret_cast<const char*>(view.data), view.bytes);
  State state;
  state.format.name = name;
  try {
    if (const auto fault = io::find_json_fault(text)) {
      reader.fail(suffix, "is not the JSON text that bitsandbytes writes: byte {}: {}", fault->offset, fault->reason);
    }
    const auto fields = json::parse(text);
    if (fields.at("quant_type").get<std::string>() != name) {
      reader.fail(suffix, "quant_type is {}, not {}", fields.at("quant_type").dump(), name);
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

void check_code(const CheckpointReader& reader, const Bitsandbytes4bit& format) {
  const auto map = reader.floats(".quant_map", 16);
  const auto& values = kernels::code4_values(format.code());
  for (std::size_t i = 0; i < 16; ++i) {
    const float found = map.data_ptr<float>()[i];
    // Older versions rounded some entries differently in the last digits.
    if (std::fabs(found - values[i]) > 1e-6f) {
      reader.fail(".quant_map", "entry {} is {}, but {} has {} there: an unknown variant", i, found, format.name(),
                  values[i]);
    }
  }
}

}  // namespace

bool Bitsandbytes4bit::is_in(const io::WeightFiles& files, const std::string& weight_name) const {
  return files.find(weight_name + state_suffix(name_)) != nullptr;
}

PackedWeight Bitsandbytes4bit::describe_in(const io::WeightFiles& files, const std::string& weight_name) const {
  auto state = parse_state(CheckpointReader(files, weight_name), name_);
  return {std::move(state.format), std::move(state.shape)};
}

StoredWeight Bitsandbytes4bit::load(const io::WeightFiles& files, const std::string& weight_name) const {
  const CheckpointReader reader(files, weight_name);
  const auto state = parse_state(reader, name_);
  StoredWeight weight{state.format, state.shape, {}, {}};
  const std::int64_t n = weight.elements(), blocks = kernels::block_count(n, state.format.block_size);
  // The bytes may be stored under any dtype (bitsandbytes' quant_storage); what counts is how many there are.
  const auto& packed = files.at(weight_name);
  if (packed.bytes != static_cast<std::size_t>(kernels::packed_bytes(n))) {
    reader.fail("", "has {} bytes, but shape [{}] packs into {}", packed.bytes, fmt::join(state.shape, ", "),
                kernels::packed_bytes(n));
  }
  check_code(reader, *this);
  weight.parts.push_back(copy_of(packed.data, kernels::packed_bytes(n), at::kByte));
  if (!state.format.double_quant) {
    weight.parts.push_back(reader.floats(".absmax", blocks));
    return weight;
  }
  weight.parts.push_back(copy_of(reader.part(".absmax", io::Dtype::u8, blocks).data, blocks, at::kByte));
  weight.parts.push_back(reader.floats(".nested_absmax", kernels::block_count(blocks, kNestedBlockSize)));
  weight.parts.push_back(reader.floats(".nested_quant_map", kNestedCodes));
  weight.constants = {state.offset};
  return weight;
}

std::vector<CheckpointTensor> Bitsandbytes4bit::save(const StoredWeight& weight, const std::string& weight_name) const {
  std::vector<CheckpointTensor> tensors;
  const auto add = [&](const std::string& suffix, io::Dtype dtype, std::vector<std::int64_t> shape,
                       const at::Tensor& tensor) {
    tensors.push_back({weight_name + suffix, dtype, std::move(shape), tensor.detach().to(at::kCPU).contiguous()});
  };
  const auto& code = kernels::code4_values(code_);
  const auto text = state_text(weight);
  const auto text_bytes = static_cast<std::int64_t>(text.size());
  const auto& parts = weight.parts;
  const bool nested = weight.format.double_quant;
  add("", io::Dtype::u8, {parts[kData].size(0), 1}, parts[kData]);
  add(".absmax", nested ? io::Dtype::u8 : io::Dtype::f32, {parts[kAbsmax].size(0)}, parts[kAbsmax]);
  add(".quant_map", io::Dtype::f32, {16}, copy_of(code.data(), 16, at::kFloat));
  if (nested) {
    add(".nested_absmax", io::Dtype::f32, {parts[kNestedAbsmax].size(0)}, parts[kNestedAbsmax]);
    add(".nested_quant_map", io::Dtype::f32, {kNestedCodes}, parts[kNestedCode]);
  }
  add(state_suffix(name_), io::Dtype::u8, {text_bytes}, copy_of(text.data(), text_bytes, at::kByte));
  return tensors;
}

std::vector<std::string> Bitsandbytes4bit::companions() const {
  std::vector<std::string> ends;
  for (const char* part : {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"}) {
    ends.push_back(std::string("weight") + part);
  }
  ends.push_back("weight" + state_suffix(name_));
  return ends;
}

}  // namespace lorica::quant
