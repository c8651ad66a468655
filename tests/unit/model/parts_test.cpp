// The parts of a layer, put together in every way that a LayerSpec can say: against the formula composed of ATen's
// operations, forward and backward; what they hold; and what a Pass turns on and off.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "model/block.hpp"
#include "model/gradient_check.hpp"
#include "model/layer_costs.hpp"
#include "model/rope_tables.hpp"

namespace lorica::model {
namespace {

using test::gradients_of;
using test::leaf;
using test::normal;
using test::relative_difference;
using test::weight_of;
using testing::ElementsAre;

constexpr std::int64_t kHidden = 12, kTokens = 7;

AttentionSpec attention_spec() {
  AttentionSpec spec;
  spec.heads = 4, spec.kv_heads = 2, spec.head_dim = 6;
  return spec;
}

LayerSpec layer_spec() {
  LayerSpec spec;
  spec.attention = attention_spec();
  spec.mlp.intermediate_size = 10;
  spec.before_attention = NormSpec{"input_layernorm"};
  spec.before_mlp = NormSpec{"post_attention_layernorm"};
  return spec;
}

Architecture architecture_of(const LayerSpec& layer) {
  Architecture architecture;
  architecture.hidden_size = kHidden, architecture.vocabulary = 20, architecture.max_positions = 64;
  architecture.layers = {layer};
  architecture.head.norm.name = "norm";
  architecture.ropes = {{RopeConfig{}, layer.attention.head_dim}};
  return architecture;
}

/// Weights of one block, float64, all trained.
struct Weights {
  explicit Weights(const BlockSpec& block) {
    std::uint64_t seed = 100;
    for (const auto& spec : block.parameters) {
      const auto value = normal(spec.shape, seed++, at::kDouble) * 0.4 + spec.neutral;
      const auto weight = weight_of(value, true);
      block_weights.add(spec.name, weight);
      leaves[spec.name] = weight.leaf;
    }
  }
  std::vector<at::Tensor> all() const {
    std::vector<at::Tensor> result;
    for (const auto& [name, leaf] : leaves) result.push_back(leaf);
    return result;
  }
  BlockWeights block_weights;
  std::map<std::string, at::Tensor> leaves;
};

Batch two_sequences(const Architecture& architecture) {
  Batch batch{{0, 3, kTokens}, {}};
  const std::vector<std::int32_t> positions{0, 1, 2, 0, 1, 2, 3};
  batch.ropes = make_rope_tables(architecture, positions, batch.offsets, at::kCPU);
  return batch;
}

/// The layer written out.
class Composed {
 public:
  Composed(const LayerSpec& spec, const Weights& weights, const Batch& batch)
      : spec_(spec), weights_(weights), batch_(batch) {}

  at::Tensor run(const at::Tensor& x) const {
    const auto changed = [&](const std::optional<NormSpec>& norm, const at::Tensor& change) {
      return normed(norm, change) * spec_.residual_multiplier;
    };
    const auto a = normed(spec_.before_attention, x);
    if (spec_.arrangement == Arrangement::parallel) {
      return x + changed(spec_.after_attention, attend(a)) + changed(spec_.after_mlp, feed(a));
    }
    const auto middle = x + changed(spec_.after_attention, attend(a));
    return middle + changed(spec_.after_mlp, feed(normed(spec_.before_mlp, middle)));
  }

 private:
  at::Tensor weight(const std::string& name) const { return weights_.leaves.at(name); }
  at::Tensor linear(const std::string& module, const at::Tensor& x) const {
    const auto bias = weights_.leaves.find(module + ".bias");
    return at::linear(x, weight(module + ".weight"), bias == weights_.leaves.end() ? at::Tensor() : bias->second);
  }
  at::Tensor normed(const std::optional<NormSpec>& norm, const at::Tensor& x, const std::string& prefix = "") const {
    if (!norm) return x;
    const auto w = weight(prefix + norm->name + ".weight");
    if (norm->kind == NormKind::layer) {
      const auto bias = norm->bias ? weight(prefix + norm->name + ".bias") : at::Tensor();
      return at::layer_norm(x, {x.size(-1)}, w, bias, norm->eps);
    }
    const auto unit = x * (x.square().mean(-1, true) + norm->eps).rsqrt();
    return unit * (norm->kind == NormKind::rms_plus_one ? 1 + w : w);
  }
  at::Tensor turned(const at::Tensor& x) const {
    if (spec_.attention.rope == AttentionSpec::kNoRope) return x;
    const auto& table = batch_.ropes.at(0);
    const auto c = table.cosine.to(at::kDouble).unsqueeze(1), s = table.sine.to(at::kDouble).unsqueeze(1);
    const auto half = c.size(-1);
    const auto first = x.narrow(-1, 0, half), second = x.narrow(-1, half, half);
    return at::cat({first * c - second * s, second * c + first * s, x.narrow(-1, 2 * half, x.size(-1) - 2 * half)}, -1);
  }
  at::Tensor attend(const at::Tensor& x) const {
    const auto& a = spec_.attention;
    std::vector<at::Tensor> parts;
    if (a.fused()) {
      parts = linear("self_attn.qkv_proj", x).split_with_sizes({a.query_size(), a.kv_size(), a.kv_size()}, 1);
    } else {
      for (const auto* name : {"q_proj", "k_proj", "v_proj"})
        parts.push_back(linear("self_attn." + std::string(name), x));
    }
    const auto by_head = [&](const at::Tensor& part) { return part.reshape({x.size(0), -1, a.head_dim}); };
    const auto normed_heads = [&](const std::optional<NormSpec>& norm, const at::Tensor& part) {
      return a.norms_all_heads ? by_head(normed(norm, part, "self_attn.")) : normed(norm, by_head(part), "self_attn.");
    };
    const auto q = turned(normed_heads(a.query_norm, parts[0])), k = turned(normed_heads(a.key_norm, parts[1]));
    parts[2] = by_head(parts[2]);
    std::vector<at::Tensor> heads;
    for (std::int64_t h = 0; h < a.heads; ++h) {
      const auto kv = h / (a.heads / a.kv_heads);
      auto scores = at::mm(q.select(1, h), k.select(1, kv).t()) *
                    (a.scale > 0 ? a.scale : 1 / std::sqrt(static_cast<double>(a.head_dim)));
      if (a.softcap > 0) scores = at::tanh(scores / a.softcap) * a.softcap;
      heads.push_back(at::mm(at::softmax(scores + mask(), -1), parts[2].select(1, kv)));
    }
    return linear("self_attn.o_proj", at::cat(heads, 1));
  }
  at::Tensor mask() const {
    auto result = at::full({kTokens, kTokens}, -std::numeric_limits<double>::infinity(), at::kDouble);
    for (std::size_t s = 0; s + 1 < batch_.offsets.size(); ++s) {
      for (auto row = batch_.offsets[s]; row < batch_.offsets[s + 1]; ++row) {
        const auto window = spec_.attention.window;
        const auto first = window > 0 ? std::max(batch_.offsets[s], row - window + 1) : batch_.offsets[s];
        result[row].narrow(0, first, row - first + 1).zero_();
      }
    }
    return result;
  }
  at::Tensor activated(const at::Tensor& x) const {
    switch (spec_.mlp.activation) {
      case ActivationKind::silu:
        return x * x.sigmoid();
      case ActivationKind::gelu_tanh:
        return 0.5 * x * (1 + at::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      case ActivationKind::gelu:
        return 0.5 * x * (1 + at::erf(x / std::sqrt(2.0)));
    }
    return {};
  }
  at::Tensor feed(const at::Tensor& x) const {
    const auto& m = spec_.mlp;
    if (!m.gated) return linear("mlp.down_proj", activated(linear("mlp.up_proj", x)));
    if (m.fused()) {
      const auto both = linear("mlp.gate_up_proj", x).chunk(2, 1);
      return linear("mlp.down_proj", activated(both[0]) * both[1]);
    }
    return linear("mlp.down_proj", activated(linear("mlp.gate_proj", x)) * linear("mlp.up_proj", x));
  }

  const LayerSpec& spec_;
  const Weights& weights_;
  const Batch& batch_;
};

void expect_the_formula(const LayerSpec& spec) {
  const auto architecture = architecture_of(spec);
  const auto blocks = make_blocks(architecture);
  const auto& block = *blocks.at(1);
  const Weights weights(block.spec());
  const auto batch = two_sequences(architecture);
  auto x = leaf({kTokens, kHidden}, 1, at::kDouble);
  const auto direction = normal({kTokens, kHidden}, 2, at::kDouble);
  const auto theirs = Composed(spec, weights, batch).run(x);
  auto leaves = weights.all();
  leaves.push_back(x);
  const auto expected = gradients_of((theirs * direction).sum(), leaves);
  for (const bool selective : {false, true}) {
    Pass pass;
    pass.keeping.selective = selective;
    const auto ours = block.forward(x, weights.block_weights, batch, pass);
    EXPECT_LT(relative_difference(ours, theirs), 1e-12);
    const auto found = gradients_of((ours * direction).sum(), leaves);
    for (std::size_t i = 0; i < leaves.size(); ++i) EXPECT_LT(relative_difference(found[i], expected[i]), 1e-10) << i;
  }
}

TEST(Layer, IsItsFormulaInEachWay) {
  std::map<std::string, LayerSpec> cases{{"llama", layer_spec()}};
  const auto add = [&](const std::string& name, const auto& change) { change(cases[name] = layer_spec()); };
  add("norms after", [](LayerSpec& s) {
    s.after_attention = NormSpec{"post_attention_layernorm"}, s.after_mlp = NormSpec{"post_feedforward_layernorm"};
    s.before_attention.reset(), s.before_mlp.reset();
  });
  add("norms on both sides, plus one", [](LayerSpec& s) {
    s.before_attention->kind = NormKind::rms_plus_one;
    s.after_attention = NormSpec{"post_attention_layernorm", NormKind::rms_plus_one};
    s.before_mlp = NormSpec{"pre_feedforward_layernorm", NormKind::rms_plus_one};
    s.after_mlp = NormSpec{"post_feedforward_layernorm", NormKind::rms_plus_one};
    s.residual_multiplier = 0.3;
  });
  add("parallel layer norm", [](LayerSpec& s) {
    s.arrangement = Arrangement::parallel;
    s.before_attention->kind = NormKind::layer, s.before_mlp.reset();
  });
  add("layer norm with a bias", [](LayerSpec& s) {
    for (auto* norm : {&s.before_attention, &s.before_mlp}) (*norm)->kind = NormKind::layer, (*norm)->bias = true;
  });
  add("fused", [](LayerSpec& s) {
    s.attention.inputs = {"qkv_proj"}, s.mlp.inputs = {"gate_up_proj"};
    s.attention.input_bias = true;
  });
  add("plain feed-forward", [](LayerSpec& s) {
    s.mlp.gated = false, s.mlp.inputs = {"up_proj"}, s.mlp.activation = ActivationKind::gelu_tanh;
    s.mlp.input_bias = s.mlp.output_bias = true;
  });
  add("gated GELU", [](LayerSpec& s) { s.mlp.activation = ActivationKind::gelu; });
  add("gated tanh-GELU", [](LayerSpec& s) { s.mlp.activation = ActivationKind::gelu_tanh; });
  add("caps, scale and window",
      [](LayerSpec& s) { s.attention.softcap = 1.5, s.attention.scale = 0.7, s.attention.window = 2; });
  add("q/k norm without rope", [](LayerSpec& s) {
    s.attention.query_norm = NormSpec{"q_norm"}, s.attention.key_norm = NormSpec{"k_norm"};
    s.attention.rope = AttentionSpec::kNoRope;
  });
  add("q/k norm over all heads", [](LayerSpec& s) {
    s.attention.query_norm = NormSpec{"q_norm", NormKind::rms_once};
    s.attention.key_norm = NormSpec{"k_norm", NormKind::rms_once};
    s.attention.norms_all_heads = true;
  });
  for (const auto& [name, spec] : cases) {
    SCOPED_TRACE(name);
    expect_the_formula(spec);
  }
}

TEST(Layer, RotatesTheShareOfAHeadThatIsAskedFor) {
  auto spec = layer_spec();
  auto architecture = architecture_of(spec);
  architecture.ropes[0].config.partial_rotary_factor = 0.67;  // 4 of 6
  EXPECT_EQ(two_sequences(architecture).ropes[0].cosine.size(1), 2);
  RopeConfig other;
  other.theta = 100;
  architecture.ropes.push_back({other, 6});
  const auto batch = two_sequences(architecture);
  ASSERT_EQ(batch.ropes.size(), 2U);
  spec.attention.rope = 1;
  const Weights weights(describe_blocks(architecture).at(1));
  const auto x = normal({kTokens, kHidden}, 1, at::kDouble);
  const auto with = [&](const LayerSpec& layer) {
    return Layer(layer, kHidden, 0).forward(x, weights.block_weights, batch, {});
  };
  EXPECT_GT(relative_difference(with(spec), with(layer_spec())), 1e-3);
}

TEST(Pass, TurnsAdaptersOff) {
  struct One : LinearAdapter {
    LowRank low_rank(const std::string& module, const BlockWeights& weights, const Pass&) const override {
      return {weights.tensor(module + ".lora_A.weight"), weights.tensor(module + ".lora_B.weight"), 1, {}};
    }
  };
  BlockWeights weights;
  weights.add("proj.weight", weight_of(normal({5, 4}, 1), false));
  const auto x = normal({3, 4}, 2);
  const auto plain = weights.linear("proj", {x, {}}, {});
  weights.add("proj.lora_A.weight", weight_of(normal({2, 4}, 3), true));
  weights.add("proj.lora_B.weight", weight_of(normal({5, 2}, 4), true));
  weights.set_adapter("proj", std::make_shared<One>());
  Pass off;
  off.adapters = false;
  EXPECT_GT(relative_difference(weights.linear("proj", {x, {}}, {}), plain), 1e-2);
  EXPECT_TRUE(weights.linear("proj", {x, {}}, off).equal(plain));
}

TEST(Embedding, ScalesByAMultiplierInTheTablesDtype) {
  auto architecture = architecture_of(layer_spec());
  architecture.embedding.multiplier = std::sqrt(12.0);
  const Embedding part(architecture);
  const auto table = normal({20, kHidden}, 1, at::kBFloat16);
  BlockWeights weights;
  weights.add(kEmbeddingWeight, weight_of(table, false));
  const auto ids = at::tensor({3, 7}, at::kLong);
  const double rounded = at::scalar_tensor(std::sqrt(12.0), at::kBFloat16).item<double>();
  ASSERT_NE(rounded, std::sqrt(12.0));
  const auto expected = at::embedding(table, ids).to(at::kFloat) * rounded;
  EXPECT_TRUE(part.forward(ids, weights, at::kFloat).equal(expected));
  const auto gradient = normal({2, kHidden}, 2);
  EXPECT_TRUE(part.row_gradients(gradient, at::kBFloat16).equal((gradient * rounded).to(at::kBFloat16)));
}

// The loss is that of the logits, caps and multiplier included, and so are its gradients; whatever a chunk holds.
TEST(Head, LossAndLogitsAgree) {
  auto architecture = architecture_of(layer_spec());
  architecture.head.logit_multiplier = 0.6;
  for (const double softcap : {0.0, 0.8}) {
    architecture.head.softcap = softcap;
    const Head part(architecture);
    for (const auto dtype : {at::kFloat, at::kDouble}) {  // our kernels; ATen
      BlockWeights weights;
      const auto norm = weight_of(normal({kHidden}, 1, dtype), true),
                 head = weight_of(normal({20, kHidden}, 2, dtype), true);
      weights.add("norm.weight", norm);
      weights.add(kHeadWeight, head);
      auto x = leaf({kTokens, kHidden}, 3, dtype);
      const auto labels = at::tensor({4, -100, 19, 0, -100, 7, 7}, at::kLong);
      const std::vector<at::Tensor> leaves{x, norm.leaf, head.leaf};
      const auto logits = part.forward(x, weights);
      const auto theirs = at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum, -100);
      const auto expected = gradients_of(theirs, leaves);
      for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{1} << 20}) {
        const auto ours = part.loss(part.predictions(x, labels, weights), weights, bytes);
        EXPECT_LT(relative_difference(ours, theirs), 2e-6);
        const auto found = gradients_of(ours, leaves);
        // Logits are float32: 20 of them in sums of 12 products.
        for (std::size_t i = 0; i < leaves.size(); ++i)
          EXPECT_LT(relative_difference(found[i], expected[i]), 1e-5) << i;
      }
    }
  }
}

TEST(Costs, CountPairsInTheWindow) {
  auto spec = attention_spec();
  EXPECT_EQ(Attention(spec, kHidden, 0).pairs(7), 28);
  spec.window = 3;
  EXPECT_EQ(Attention(spec, kHidden, 0).pairs(7), 1 + 2 + 5 * 3);
  EXPECT_EQ(Attention(spec, kHidden, 0).pairs(2), 3);
}

TEST(Costs, HoldWhatTheSpecAddsToALayer) {
  const auto numbers = [](const LayerSpec& spec, bool selective) {
    RunFacts facts;
    facts.selective = selective;
    facts.keeps_input = [](const std::string& module) { return module != "self_attn.o_proj"; };
    return layer_costs(architecture_of(spec), 0, facts).held;
  };
  auto spec = layer_spec();
  // q, k, v, the output; the input of q, k, v; the stream in the middle; the inputs of gate and up, and of down.
  EXPECT_EQ(numbers(spec, false).compute, 2 * 24U + 2 * 12U + 12 + 12 + 12 + 10);
  EXPECT_EQ(numbers(spec, true).compute, 2 * 24U + 2 * 12U + 12);
  EXPECT_EQ(numbers(spec, true).wide, 20U);
  EXPECT_EQ(numbers(spec, true).float32, 4U);
  spec.after_mlp = spec.after_attention = NormSpec{"after"};
  EXPECT_EQ(numbers(spec, true).compute, 2 * 24U + 2 * 12U + 12 + 24);
}

TEST(Blocks, NamesProjectionsOfFusedLayers) {
  auto spec = layer_spec();
  spec.attention.inputs = {"qkv_proj"}, spec.mlp.inputs = {"gate_up_proj"};
  const auto blocks = describe_blocks(architecture_of(spec));
  EXPECT_THAT(projection_names(blocks), ElementsAre("qkv_proj", "o_proj", "gate_up_proj", "down_proj"));
  EXPECT_THAT(blocks[1].parameter("self_attn.qkv_proj.weight").shape, ElementsAre(24 + 2 * 12, kHidden));
  EXPECT_THAT(blocks[1].parameter("mlp.gate_up_proj.weight").shape, ElementsAre(20, kHidden));
}

}  // namespace
}  // namespace lorica::model
