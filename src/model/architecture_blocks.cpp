// The blocks of a model and their parameters, as their parts describe them.
#include <algorithm>

#include "base/error.hpp"
#include "model/architecture.hpp"
#include "model/layer_costs.hpp"
#include "model/parts/embedding.hpp"
#include "model/parts/head.hpp"
#include "model/parts/layer.hpp"

namespace lorica::model {
namespace {

const std::string kPrefix = "model.";

Layer layer_of(const Architecture& architecture, int64_t layer) {
  return {architecture.layers.at(static_cast<std::size_t>(layer)), architecture.hidden_size, layer};
}

BlockSpec embedding_block(const Architecture& a) {
  BlockSpec block{BlockSpec::Kind::embedding, -1, "embedding", {}};
  Embedding(a).describe(block.parameters);
  for (auto& parameter : block.parameters) parameter.checkpoint_name = kPrefix + parameter.name;
  return block;
}

BlockSpec decoder_block(const Architecture& a, int64_t layer) {
  BlockSpec block{BlockSpec::Kind::decoder, layer, "layers." + std::to_string(layer), {}};
  layer_of(a, layer).describe(block.parameters);
  for (auto& parameter : block.parameters) parameter.checkpoint_name = kPrefix + block.name + "." + parameter.name;
  return block;
}

BlockSpec head_block(const Architecture& a) {
  BlockSpec block{BlockSpec::Kind::head, -1, "head", {}};
  Head(a).describe(block.parameters);
  for (auto& parameter : block.parameters) {
    const bool is_head = parameter.role == Role::head;
    parameter.checkpoint_name = parameter.tied ? kPrefix + kEmbeddingWeight
                                : is_head      ? parameter.name
                                               : kPrefix + parameter.name;
  }
  return block;
}

}  // namespace

int64_t ParameterSpec::count() const {
  int64_t product = 1;
  for (const auto size : shape) product *= size;
  return product;
}

const ParameterSpec& BlockSpec::parameter(const std::string& local_name) const {
  const auto found = std::find_if(parameters.begin(), parameters.end(),
                                  [&](const ParameterSpec& spec) { return spec.name == local_name; });
  ensure(found != parameters.end(), "block {} has no parameter {}", name, local_name);
  return *found;
}

std::vector<std::string> projection_names(const std::vector<BlockSpec>& blocks) {
  std::vector<std::string> names;
  for (const auto& block : blocks) {
    for (const auto& parameter : block.parameters) {
      if (parameter.role != Role::linear) continue;
      const auto module = parameter.name.substr(0, parameter.name.rfind('.'));
      const auto name = module.substr(module.rfind('.') + 1);
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

std::vector<BlockSpec> describe_blocks(const Architecture& architecture) {
  std::vector<BlockSpec> blocks;
  blocks.push_back(embedding_block(architecture));
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    blocks.push_back(decoder_block(architecture, layer));
  }
  blocks.push_back(head_block(architecture));
  return blocks;
}

int64_t parameter_count(const BlockSpec& block) {
  int64_t total = 0;
  for (const auto& spec : block.parameters) total += spec.tied ? 0 : spec.count();
  return total;
}

int64_t parameter_count(const Architecture& architecture) {
  int64_t total = 0;
  for (const auto& block : describe_blocks(architecture)) total += parameter_count(block);
  return total;
}

LayerCosts layer_costs(const Architecture& architecture, int64_t layer, const RunFacts& facts) {
  const auto part = layer_of(architecture, layer);
  return {part.held(facts), part.peaks(facts)};
}

double attention_flops(const Architecture& architecture, int64_t layer, double length) {
  const auto part = layer_of(architecture, layer);
  return part.attention().pairs(length) * part.attention().flops_of_pair();
}

double product_flops(const BlockSpec& block) {
  double flops = 0;
  for (const auto& spec : block.parameters) {
    if (spec.role == Role::linear || spec.role == Role::head) flops += 2.0 * static_cast<double>(spec.count());
  }
  return flops;
}

}  // namespace lorica::model
