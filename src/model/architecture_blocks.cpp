// The blocks of a model and their parameters, as they follow from an Architecture.
#include <algorithm>

#include "base/error.hpp"
#include "model/architecture.hpp"

namespace lorica::model {
namespace {

constexpr const char* kEmbeddingName = "model.embed_tokens.weight";

/// Collects the parameters of one decoder layer under their local and checkpoint names.
class LayerBuilder {
 public:
  explicit LayerBuilder(BlockSpec& block)
      : block_(block), prefix_("model.layers." + std::to_string(block.layer) + ".") {}

  void norm(const std::string& module, int64_t size) { add(module + ".weight", {size}, Role::norm); }

  void linear(const std::string& module, int64_t out, int64_t in, bool bias) {
    add(module + ".weight", {out, in}, Role::linear);
    if (bias) add(module + ".bias", {out}, Role::bias);
  }

 private:
  void add(const std::string& name, std::vector<int64_t> shape, Role role) {
    block_.parameters.push_back({name, prefix_ + name, std::move(shape), role, false});
  }

  BlockSpec& block_;
  std::string prefix_;
};

BlockSpec embedding_block(const Architecture& a) {
  BlockSpec block{BlockSpec::Kind::embedding, -1, "embedding", {}};
  block.parameters.push_back(
      {"embed_tokens.weight", kEmbeddingName, {a.vocabulary, a.hidden_size}, Role::embedding, false});
  return block;
}

BlockSpec decoder_block(const Architecture& a, int64_t layer) {
  BlockSpec block{BlockSpec::Kind::decoder, layer, "layers." + std::to_string(layer), {}};
  LayerBuilder builder(block);
  builder.norm("input_layernorm", a.hidden_size);
  builder.linear("self_attn.q_proj", a.query_size(), a.hidden_size, a.qkv_bias);
  builder.linear("self_attn.k_proj", a.kv_size(), a.hidden_size, a.qkv_bias);
  builder.linear("self_attn.v_proj", a.kv_size(), a.hidden_size, a.qkv_bias);
  if (a.qk_norm) {
    builder.norm("self_attn.q_norm", a.head_dim);
    builder.norm("self_attn.k_norm", a.head_dim);
  }
  builder.linear("self_attn.o_proj", a.hidden_size, a.query_size(), a.output_bias);
  builder.norm("post_attention_layernorm", a.hidden_size);
  builder.linear("mlp.gate_proj", a.intermediate_size, a.hidden_size, a.mlp_bias);
  builder.linear("mlp.up_proj", a.intermediate_size, a.hidden_size, a.mlp_bias);
  builder.linear("mlp.down_proj", a.hidden_size, a.intermediate_size, a.mlp_bias);
  return block;
}

BlockSpec head_block(const Architecture& a) {
  BlockSpec block{BlockSpec::Kind::head, -1, "head", {}};
  block.parameters.push_back({"norm.weight", "model.norm.weight", {a.hidden_size}, Role::norm, false});
  block.parameters.push_back({"lm_head.weight",
                              a.tied_embeddings ? kEmbeddingName : "lm_head.weight",
                              {a.vocabulary, a.hidden_size},
                              Role::head,
                              a.tied_embeddings});
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

const std::vector<std::string>& projection_names() {
  static const std::vector<std::string> names{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                              "gate_proj", "up_proj", "down_proj"};
  return names;
}

std::vector<BlockSpec> describe_blocks(const Architecture& architecture) {
  std::vector<BlockSpec> blocks;
  blocks.push_back(embedding_block(architecture));
  for (int64_t layer = 0; layer < architecture.layers; ++layer) blocks.push_back(decoder_block(architecture, layer));
  blocks.push_back(head_block(architecture));
  return blocks;
}

int64_t parameter_count(const BlockSpec& block) {
  int64_t total = 0;
  for (const auto& spec : block.parameters) total += spec.tied ? 0 : spec.count();
  return total;
}

int64_t parameter_count(const Architecture& architecture) {
  // All decoder layers are alike, so one stands for the rest.
  return parameter_count(embedding_block(architecture)) +
         architecture.layers * parameter_count(decoder_block(architecture, 0)) +
         parameter_count(head_block(architecture));
}

}  // namespace lorica::model
