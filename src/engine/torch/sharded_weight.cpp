#include "engine/torch/sharded_weight.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.hpp"

namespace lorica::engine {

std::vector<quant::PartSpec> parts_of(const quant::StoredWeight& weight) {
  return quant::find_format(weight.format.name).parts(weight.format, weight.shape);
}

parallel::ShardLayout layout_of(const std::vector<Parameter>& parameters, int shards) {
  std::vector<parallel::SplitTensor> tensors;
  for (const auto& parameter : parameters) {
    for (const auto& part : parts_of(*parameter.stored)) tensors.push_back({part.units, part.unit_bytes, part.bytes()});
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
    const auto parts = parts_of(*parameter.stored);
    for (std::size_t p = 0; p < parts.size(); ++p) {
      const auto& tensor = parameter.stored->parts.at(p);
      ensure(tensor.scalar_type() == parts[p].dtype && tensor.is_contiguous() &&
                 tensor.sizes() == at::IntArrayRef(parts[p].shape),
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
                    {"format", stored.format},
                    {"shape", stored.shape},
                    {"constants", stored.constants}});
  }
  return list;
}

std::vector<Parameter> from_description(const nlohmann::json& description) {
  std::vector<Parameter> parameters;
  for (const auto& entry : description) {
    auto stored = std::make_shared<quant::StoredWeight>();
    stored->format = entry.at("format").get<quant::WeightFormat>();
    stored->shape = entry.at("shape").get<std::vector<std::int64_t>>();
    stored->constants = entry.at("constants").get<std::vector<double>>();
    parameters.push_back({entry.at("name").get<std::string>(), std::move(stored), entry.at("trained").get<bool>()});
  }
  return parameters;
}

}  // namespace lorica::engine
