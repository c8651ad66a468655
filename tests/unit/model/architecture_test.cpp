// Reading config.json: the families' defaults, both generations of keys, and every message of a bad one.
#include "model/architecture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "base/error.hpp"
#include "base/files.hpp"

namespace lorica::model {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

json tiny(const std::string& family) {
  return {{"model_type", family},     {"hidden_size", 64},        {"intermediate_size", 176}, {"num_hidden_layers", 3},
          {"num_attention_heads", 4}, {"num_key_value_heads", 2}, {"vocab_size", 320}};
}

Architecture parsed(const json& config) {
  return parse_architecture(config, "m/config.json");
}

std::string failure(const json& config) {
  try {
    parsed(config);
  } catch (const ModelError& error) {
    return error.what();
  }
  return "no error";
}

json with(json config, const std::string& key, const json& value) {
  config[key] = value;
  return config;
}

json without(json config, const std::string& key) {
  config.erase(key);
  return config;
}

TEST(Architecture, ReadsLlama) {
  auto config = tiny("llama");
  config.update({{"attention_bias", true},
                 {"mlp_bias", true},
                 {"rms_norm_eps", 1e-5},
                 {"tie_word_embeddings", true},
                 {"torch_dtype", "bfloat16"},
                 {"eos_token_id", {7, 9}},
                 {"initializer_range", 0.05},
                 {"max_position_embeddings", 4096.0}});
  const auto a = parsed(config);
  EXPECT_EQ(a.family, "llama");
  EXPECT_EQ(a.head_dim, 16);
  EXPECT_EQ(a.kv_heads, 2);
  EXPECT_EQ(a.max_positions, 4096);
  EXPECT_TRUE(a.qkv_bias && a.output_bias && a.mlp_bias && a.tied_embeddings);
  EXPECT_FALSE(a.qk_norm);
  EXPECT_EQ(a.rms_norm_eps, 1e-5);
  EXPECT_EQ(a.initializer_range, 0.05);
  EXPECT_EQ(a.dtype, "bfloat16");
  EXPECT_THAT(a.eos_ids, ElementsAre(7, 9));
  EXPECT_THAT(a.sliding_window, ElementsAre(0, 0, 0));
  EXPECT_EQ(a.raw, config);
}

TEST(Architecture, FillsDefaultsOfEachFamily) {
  const auto bare = [](const std::string& family) {
    auto config = without(tiny(family), "num_key_value_heads");
    return with(with(config, "num_attention_heads", 32), "hidden_size", 256);
  };
  const auto llama = parsed(bare("llama"));
  EXPECT_EQ(llama.kv_heads, 32);
  EXPECT_EQ(llama.max_positions, 2048);
  EXPECT_THAT(llama.eos_ids, ElementsAre(2));
  EXPECT_EQ(llama.rope.theta, 10000.0);
  EXPECT_EQ(llama.dtype, "");
  const auto mistral = parsed(bare("mistral"));
  EXPECT_EQ(mistral.kv_heads, 8);
  EXPECT_EQ(mistral.max_positions, 131072);
  EXPECT_THAT(mistral.sliding_window, ElementsAre(4096, 4096, 4096));
  EXPECT_EQ(parsed(with(bare("mistral"), "num_key_value_heads", nullptr)).kv_heads, 32);
  EXPECT_THAT(parsed(with(bare("mistral"), "sliding_window", nullptr)).sliding_window, Each(0));
  const auto qwen2 = parsed(bare("qwen2"));
  EXPECT_EQ(qwen2.kv_heads, 32);
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.output_bias);
  EXPECT_TRUE(qwen2.eos_ids.empty());
  const auto qwen3 = parsed(bare("qwen3"));
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.qkv_bias);
}

TEST(Architecture, PlacesQwenWindows) {
  auto config = tiny("qwen2");
  config.update({{"sliding_window", 100}, {"max_window_layers", 2}});
  EXPECT_THAT(parsed(config).sliding_window, ElementsAre(0, 0, 0));  // use_sliding_window is off
  config["use_sliding_window"] = true;
  EXPECT_THAT(parsed(config).sliding_window, ElementsAre(0, 0, 100));
  config["max_window_layers"] = 0;
  EXPECT_THAT(parsed(config).sliding_window, ElementsAre(100, 100, 100));
  config["layer_types"] = {"sliding_attention", "full_attention", "attention"};
  EXPECT_THAT(parsed(config).sliding_window, ElementsAre(100, 0, 0));
  config["sliding_window"] = nullptr;
  EXPECT_THAT(failure(config), AllOf(HasSubstr("config.json: layer_types"), HasSubstr("use_sliding_window")));
  config["layer_types"] = {"full_attention"};
  EXPECT_THAT(failure(config), HasSubstr("layer_types names 1 layers, but num_hidden_layers is 3"));
  config["layer_types"] = {"linear_attention", "full_attention", "full_attention"};
  EXPECT_THAT(failure(config), HasSubstr("layer_types holds 'linear_attention'"));
}

TEST(Architecture, ReadsOldAndNewRopeKeys) {
  const json llama3 = {
      {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  auto old_keys = with(tiny("llama"), "rope_theta", 500000.0);
  old_keys["rope_scaling"] = with(llama3, "type", "llama3");
  auto new_keys = tiny("llama");
  new_keys["rope_parameters"] = with(with(llama3, "rope_type", "llama3"), "rope_theta", 500000.0);
  const auto rope = parsed(new_keys).rope;
  EXPECT_EQ(rope, parsed(old_keys).rope);
  EXPECT_EQ(rope.type, RopeType::llama3);
  EXPECT_EQ(rope.theta, 500000.0);
  EXPECT_EQ(rope.factor, 8.0);
  EXPECT_EQ(rope.original_max_positions, 8192);
}

TEST(Architecture, PrefersRopeScalingAndTopLevelOriginalPositions) {
  auto config = with(tiny("qwen3"), "rope_parameters", {{"rope_type", "linear"}, {"factor", 2.0}});
  config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
  EXPECT_EQ(parsed(config).rope.type, RopeType::yarn);
  EXPECT_EQ(parsed(config).rope.original_max_positions, 64);
  config["original_max_position_embeddings"] = 32;
  EXPECT_EQ(parsed(config).rope.original_max_positions, 32);
  config["rope_scaling"] = nullptr;
  EXPECT_EQ(parsed(config).rope.type, RopeType::linear);
}

TEST(Architecture, RefusesUnknownModelTypes) {
  EXPECT_THAT(failure(with(tiny("llama"), "model_type", "Qwen-2")),
              AllOf(HasSubstr("m/config.json: model_type"), HasSubstr("'Qwen-2'"), HasSubstr("did you mean 'qwen2'"),
                    HasSubstr("llama, mistral, qwen2, qwen3")));
  // What merely looks alike is another model.
  for (const char* name : {"mixtral", "qwen4", "llama4"}) {
    EXPECT_THAT(failure(with(tiny("llama"), "model_type", name)),
                AllOf(HasSubstr(name), Not(HasSubstr("did you mean")), HasSubstr("Known model types: llama")));
  }
  EXPECT_THAT(failure(without(tiny("llama"), "model_type")), HasSubstr("model_type is missing"));
  auto remote = with(tiny("llama"), "model_type", "my_model");
  remote["auto_map"] = {{"AutoModelForCausalLM", "modeling.MyModel"}};
  EXPECT_THAT(failure(remote), HasSubstr("never runs code from a model repository"));
}

TEST(Architecture, NamesEachMissingKey) {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    EXPECT_THAT(failure(without(tiny("qwen3"), key)), HasSubstr(std::string("m/config.json: ") + key + " is missing"));
  }
}

TEST(Architecture, NamesEachBadValue) {
  const std::vector<std::tuple<std::string, json, std::string>> cases{
      {"hidden_size", 0, "hidden_size must be at least 1, not 0"},
      {"vocab_size", -5, "vocab_size must be at least 1, not -5"},
      {"num_hidden_layers", "three", "num_hidden_layers must be a whole number, not \"three\""},
      {"num_attention_heads", 4.5, "num_attention_heads must be a whole number, not 4.5"},
      {"hidden_size", 1e30, "hidden_size is 1e+30: more than"},
      {"num_key_value_heads", 3, "num_key_value_heads is 3, but must divide num_attention_heads (4)"},
      {"head_dim", 15, "head_dim is 15, but rotary embedding needs an even number"},
      {"hidden_size", 66, "hidden_size is 66, which is no multiple of num_attention_heads (4)"},
      {"hidden_act", "gelu", "hidden_act is 'gelu', but only 'silu'"},
      {"rms_norm_eps", 0, "rms_norm_eps must be greater than 0"},
      {"attention_bias", "yes", "attention_bias must be true or false"},
      {"dtype", "int8", "dtype is 'int8'"},
      {"eos_token_id", "</s>", "eos_token_id must be a token id"},
      {"rope_theta", -1, "rope_theta must be greater than 0"},
      {"partial_rotary_factor", 0.5, "partial_rotary_factor is 0.5"},
      {"rope_scaling", json::array(), "rope_scaling must hold a JSON object"},
      {"rope_scaling", {{"type", "yarm"}}, "rope_scaling.type is 'yarm', which is not known (did you mean 'yarn'?)"},
      {"rope_parameters", {{"rope_type", "linear"}}, "rope_parameters.factor is missing: rope type 'linear' needs it"},
      {"rope_parameters", {{"rope_type", "llama3"}, {"factor", 2}}, "rope_parameters.low_freq_factor is missing"},
      {"rope_parameters",
       {{"rope_type", "llama3"}, {"factor", 2}, {"low_freq_factor", 4}, {"high_freq_factor", 4}},
       "rope_parameters.high_freq_factor is 4, but must be greater than low_freq_factor (4)"},
      {"rope_parameters",
       {{"rope_type", "longrope"}, {"short_factor", {1.0, 2.0}}, {"long_factor", {1.0, 2.0}}},
       "rope_parameters.short_factor holds 2 numbers, but half of head_dim is 8"},
      {"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}, "rope_parameters.full_attention"},
  };
  for (const auto& [key, value, expected] : cases) {
    EXPECT_THAT(failure(with(tiny("llama"), key, value)), HasSubstr("m/config.json: " + expected));
  }
}

TEST(Architecture, RefusesKeysThatDecideNumbersUnlessTheyChangeNothing) {
  const std::vector<std::pair<std::string, json>> deciding{
      {"attn_logit_softcapping", 50.0},
      {"final_logit_softcapping", 30.0},
      {"logits_scaling", 8.0},
      {"embedding_multiplier", 12},
      {"scale_emb", 12},
      {"use_qk_norm", true},
      {"no_rope_layers", {1, 0, 1}},
      {"sliding_window", 8},
      {"num_local_experts", 8},
      {"attention_bias", true},
      {"layer_types", {"sliding_attention", "full_attention", "full_attention"}}};
  for (const auto& [key, value] : deciding) {
    EXPECT_THAT(failure(with(tiny(key == "attention_bias" ? "mistral" : "llama"), key, value)),
                AllOf(HasSubstr("m/config.json: " + key), HasSubstr("numbers would be others")))
        << key;
  }
  auto neutral = tiny("llama");
  neutral.update({{"attn_logit_softcapping", nullptr},
                  {"logits_scaling", 1},
                  {"embedding_multiplier", 1.0},
                  {"use_qk_norm", false},
                  {"no_rope_layers", {1, 1, 1}},
                  {"sliding_window", 4096},
                  {"num_local_experts", 1},
                  {"layer_types", {"full_attention", "full_attention", "full_attention"}},
                  {"attention_multiplier", 0.25},
                  {"pretraining_tp", 2}});
  EXPECT_TRUE(parsed(neutral).account.empty());
  EXPECT_TRUE(parsed(with(with(tiny("llama"), "sliding_window", 8), "use_sliding_window", false)).account.empty());
}

TEST(Architecture, NamesKeysThatNobodyKnows) {
  auto config = tiny("qwen2");
  config.update({{"novel", 1},
                 {"novel_off", false},
                 {"attention_dropout", 0.1},
                 {"vision_config", {{"depth", 2}}},
                 {"use_cache", true},
                 {"rope_scaling", {{"type", "default"}, {"novel", 2}}},
                 {"auto_map", {{"AutoModelForCausalLM", "x.Y"}}}});
  std::vector<std::string> parts;
  for (const auto& entry : parsed(config).account.entries()) parts.push_back(entry.part);
  EXPECT_THAT(parts, testing::UnorderedElementsAre("novel", "attention_dropout", "vision_config", "rope_scaling.novel",
                                                   "auto_map"));
}

TEST(Architecture, ExplainsADefaultThatDoesNotFit) {
  EXPECT_THAT(failure(without(tiny("mistral"), "num_key_value_heads")), HasSubstr("the family's default"));
}

TEST(Architecture, ReadsAFolder) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "lorica_architecture";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  EXPECT_THROW(read_architecture(folder), ModelError);
  write_file(folder / "config.json", tiny("qwen2").dump());
  EXPECT_EQ(read_architecture(folder).family, "qwen2");
  write_file(folder / "config.json", "{\"model_type\": ");
  try {
    read_architecture(folder);
    FAIL();
  } catch (const ModelError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("config.json"), HasSubstr("config.json:1:16: malformed JSON")));
  }
  write_file(folder / "config.json", "[1]");
  EXPECT_THROW(read_architecture(folder), ModelError);
  std::filesystem::remove_all(folder);
}

TEST(Blocks, NamesEveryParameterOfQwen3) {
  auto config = tiny("qwen3");
  config.update({{"head_dim", 32}, {"attention_bias", true}});
  const auto blocks = describe_blocks(parsed(config));
  ASSERT_EQ(blocks.size(), 5U);
  EXPECT_EQ(blocks[0].parameters.at(0).checkpoint_name, "model.embed_tokens.weight");
  const auto& layer = blocks[2];
  EXPECT_EQ(layer.name, "layers.1");
  EXPECT_EQ(layer.layer, 1);
  EXPECT_EQ(layer.parameters.size(), 15U);
  const auto& query = layer.parameter("self_attn.q_proj.weight");
  EXPECT_EQ(query.checkpoint_name, "model.layers.1.self_attn.q_proj.weight");
  EXPECT_THAT(query.shape, ElementsAre(128, 64));
  EXPECT_THAT(layer.parameter("self_attn.k_proj.bias").shape, ElementsAre(64));
  EXPECT_THAT(layer.parameter("self_attn.o_proj.weight").shape, ElementsAre(64, 128));
  EXPECT_THAT(layer.parameter("self_attn.q_norm.weight").shape, ElementsAre(32));
  EXPECT_THAT(layer.parameter("mlp.down_proj.weight").shape, ElementsAre(64, 176));
  EXPECT_THROW(layer.parameter("mlp.down_proj.bias"), Error);
  EXPECT_EQ(blocks[4].kind, BlockSpec::Kind::head);
  EXPECT_EQ(blocks[4].parameter("lm_head.weight").checkpoint_name, "lm_head.weight");
}

TEST(Blocks, CountsATiedHeadOnce) {
  const auto untied = parsed(tiny("llama"));
  const auto tied = parsed(with(tiny("llama"), "tie_word_embeddings", true));
  EXPECT_EQ(parameter_count(untied) - parameter_count(tied), 320 * 64);
  const auto head = describe_blocks(tied).back().parameter("lm_head.weight");
  EXPECT_TRUE(head.tied);
  EXPECT_EQ(head.checkpoint_name, "model.embed_tokens.weight");
  int64_t total = 0;
  for (const auto& block : describe_blocks(tied)) total += parameter_count(block);
  EXPECT_EQ(total, parameter_count(tied));
}

TEST(Blocks, CountsTheParametersOfLlama2) {
  json config = {{"model_type", "llama"},   {"hidden_size", 4096},       {"intermediate_size", 11008},
                 {"num_hidden_layers", 32}, {"num_attention_heads", 32}, {"vocab_size", 32000}};
  EXPECT_EQ(parameter_count(parsed(config)), 6738415616);  // as published for Llama-2-7B
}

TEST(Families, NameDefaultTargets) {
  for (const auto& family : known_families()) {
    EXPECT_THAT(default_target_modules(family), ElementsAre("q_proj", "v_proj"));
  }
  EXPECT_THROW(default_target_modules("gpt2"), ModelError);
}

}  // namespace
}  // namespace lorica::model
