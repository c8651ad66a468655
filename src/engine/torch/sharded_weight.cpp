#include "engine/torch/sharded_weight.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"

namespace lorica::engine {
namespace {

parallel::SplitTensor rows_of(const std::vector<std::int64_t>& shape, at::ScalarType dtype) {
  std::int64_t elements = 1;
  for (const auto size : shape) elements *= size;
  const auto bytes = elements * static_cast<std::int64_t>(c10::elementSize(dtype));
  const auto rows = shape.empty() ? 1 : shape[0];
  return {rows, rows == 0 ? 0 : bytes / rows, bytes};
}

}  // namespace

std::vector<WeightPart> parts_of(const quant::StoredWeight& weight) {
  using quant::StoredWeight;
  const auto& format = weight.format;
  if (!weight.quantized()) {
    return {{&StoredWeight::data, format.dtype, weight.shape, rows_of(weight.shape, format.dtype)}};
  }
  const auto elements = weight.elements();
  const auto blocks = (elements + format.block_size - 1) / format.block_size;
  const auto packed = (elements + 1) / 2;
  std::vector<WeightPart> parts;
  parts.push_back({&StoredWeight::data, at::kByte, {packed}, {blocks, format.block_size / 2, packed}});
  const auto absmax = format.double_quant ? at::kByte : at::kFloat;
  parts.push_back({&StoredWeight::absmax, absmax, {blocks}, rows_of({blocks}, absmax)});
  if (format.double_quant) {
    const auto nested = (blocks + quant::kNestedBlockSize - 1) / quant::kNestedBlockSize;
    parts.push_back({&StoredWeight::nested_absmax, at::kFloat, {nested}, rows_of({nested}, at::kFloat)});
    parts.push_back(
        {&StoredWeight::nested_code, at::kFloat, {quant::kNestedCodes}, rows_of({quant::kNestedCodes}, at::kFloat)});
  }
  return parts;
}

parallel::ShardLayout layout_of(const std::vector<Parameter>& parameters, int shards) {
  std::vector<parallel::SplitTensor> tensors;
  for (const auto& parameter : parameters) {
    for (const auto& part : parts_of(*parameter.stored)) tensors.push_back(part.split);
  }
  return {std::move(tensors), shards};
}

void cut_chunk(const std::vector<Parameter>& parameters, const parallel::ShardLayout& layout, int shard,
               const at::Tensor& chunk) {
  ensure(chunk.numel() == layout.chunk_bytes() && chunk.is_contiguous(), "a chunk has another size than its layout");
  auto* bytes = chunk.mutable_data_ptr<std::uint8_t>();
  std::fill_n(bytes, chunk.numel(), std::uint8_t{0});
  std::size_t index = 0;
  for (const auto& parameter : parameters) {
    for (const auto& part : parts_of(*parameter.stored)) {
      const auto& tensor = (*parameter.stored).*part.member;
      ensure(
          tensor.scalar_type() == part.dtype && tensor.is_contiguous() && tensor.sizes() == at::IntArrayRef(part.shape),
          "'{}' is not laid out as its format says", parameter.name);
      layout.cut_tensor(bytes, static_cast<const std::uint8_t*>(tensor.const_data_ptr()), index++, shard);
    }
  }
}

nlohmann::json describe(const std::vector<Parameter>& parameters) {
  auto list = nlohmann::json::array();
  for (const auto& parameter : parameters) {
    const auto& stored = *parameter.stored;
    list.push_back({{"name", parameter.name},
                    {"trained", parameter.trained},
                    {"kind", static_cast<int>(stored.format.kind)},
                    {"dtype", static_cast<int>(stored.format.dtype)},
                    {"block_size", stored.format.block_size},
                    {"double_quant", stored.format.double_quant},
                    {"shape", stored.shape},
                    {"offset", stored.offset}});
  }
  return list;
}

std::vector<Parameter> from_description(const nlohmann::json& description) {
  std::vector<Parameter> parameters;
  for (const auto& entry : description) {
    auto stored = std::make_shared<quant::StoredWeight>();
    stored->format.kind = static_cast<quant::Kind>(entry.at("kind").get<int>());
    stored->format.dtype = static_cast<at::ScalarType>(entry.at("dtype").get<int>());
    stored->format.block_size = entry.at("block_size").get<int>();
    stored->format.double_quant = entry.at("double_quant").get<bool>();
    stored->shape = entry.at("shape").get<std::vector<std::int64_t>>();
    stored->offset = entry.at("offset").get<float>();
    parameters.push_back({entry.at("name").get<std::string>(), std::move(stored), entry.at("trained").get<bool>()});
  }
  return parameters;
}

}  // namespace lorica::engine
