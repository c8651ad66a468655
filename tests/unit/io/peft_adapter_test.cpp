#include "io/peft_adapter.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/temporary_folder.hpp"
#include "io/json.hpp"

namespace lorica::io {
namespace {

using nlohmann::json;
using test::message_of;
using test::put_file;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json minimal() {
  return {{"peft_type", "LORA"}, {"r", 4}, {"lora_alpha", 8}, {"target_modules", {"q_proj", "v_proj"}}};
}

AdapterConfig parse(const json& changes, bool allow_dora = false) {
  auto config = minimal();
  if (changes.is_object()) config.update(changes);
  return parse_adapter_config(config, "adapter_config.json", allow_dora);
}

std::string fault(const json& changes) {
  return message_of<ModelError>([&] { parse(changes); });
}

TEST(AdapterConfig, FieldsAndTheirForms) {
  const auto config = parse({{"lora_dropout", 0.1},
                             {"use_rslora", true},
                             {"layers_to_transform", 3},
                             {"layers_pattern", "layers"},
                             {"modules_to_save", {"lm_head"}},
                             {"rank_pattern", {{"q_proj", 16}}},
                             {"alpha_pattern", {{"q_proj", 32}}},
                             {"exclude_modules", "x.*"},
                             {"eva_config", {{"rho", 2.0}}}});
  EXPECT_EQ(config.rank, 4);
  EXPECT_EQ(config.alpha, 8);
  EXPECT_EQ(config.dropout, 0.1);
  EXPECT_TRUE(config.use_rslora);
  EXPECT_EQ(config.layers_to_transform, std::vector<std::int64_t>{3});
  EXPECT_THAT(config.layers_pattern, ElementsAre("layers"));
  EXPECT_EQ(config.exclude_regex, "x.*");
  EXPECT_EQ(config.other["eva_config"]["rho"], 2.0);
  EXPECT_EQ(parse({{"target_modules", ".*_proj"}}).target_regex, ".*_proj");
}

TEST(AdapterConfig, WritingAndReadingGiveTheSame) {
  TemporaryFolder folder;
  auto config =
      parse({{"rank_pattern", {{"q_proj", 16}}}, {"alpha_pattern", {{"q_proj", 2.5}}}, {"new_field", {1, 2}}});
  config.base_model_name_or_path = "org/name";
  config.layers_to_transform = {{0, 2}};
  write_adapter_config(folder / kAdapterConfigFile, config);
  const auto again = read_adapter_config(folder / kAdapterConfigFile);
  EXPECT_EQ(to_json(again), to_json(config));
  const auto json = read_json(folder / kAdapterConfigFile);
  EXPECT_EQ(json["new_field"], (nlohmann::json{1, 2})) << "unknown fields are kept";
  EXPECT_TRUE(json["lora_alpha"].is_number_integer()) << "readers of the format insist on an integer";
  EXPECT_EQ(json["base_model_name_or_path"], "org/name");
  EXPECT_EQ(json["modules_to_save"], nullptr);
  EXPECT_EQ(json["bias"], "none");
}

TEST(AdapterConfig, WhatWouldChangeTheNumbersIsRefusedByName) {
  EXPECT_THAT(fault({{"peft_type", "LOHA"}}), AllOf(HasSubstr("adapter_config.json"), HasSubstr("LOHA")));
  EXPECT_THAT(fault({{"bias", "all"}}), HasSubstr("\"bias\" is \"all\""));
  for (const char* key : {"fan_in_fan_out", "lora_bias", "use_qalora", "use_dora", "megatron_config"}) {
    EXPECT_THAT(fault({{key, true}}), HasSubstr(key));
  }
  EXPECT_THAT(fault({{"alora_invocation_tokens", {1}}}), HasSubstr("alora_invocation_tokens"));
  EXPECT_THAT(fault({{"layer_replication", {{0, 4}}}}), HasSubstr("layer_replication"));
  EXPECT_THAT(fault({{"target_parameters", {"x"}}}), HasSubstr("target_parameters"));
  for (const char* kind : {"pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga"}) {
    EXPECT_THAT(fault({{"init_lora_weights", kind}}), AllOf(HasSubstr(kind), HasSubstr("altered the base")));
  }
  EXPECT_THAT(fault({{"init_lora_weights", "brand-new"}}), AllOf(HasSubstr("brand-new"), HasSubstr("doesn't know")));
  EXPECT_TRUE(parse({{"use_dora", true}}, true).use_dora);
  for (const char* kind : {"gaussian", "eva", "orthogonal"}) EXPECT_NO_THROW(parse({{"init_lora_weights", kind}}));
}

TEST(AdapterConfig, WhatDoesNothingIsAccountedForWhereItIsSet) {
  const auto config = parse({{"novel", 3},
                             {"novel_off", nullptr},
                             {"velora_config", {{"scale", 1}}},
                             {"corda_config", nullptr},
                             {"megatron_core", "megatron.core"},
                             {"peft_version", "9.9"}});
  std::vector<std::string> parts;
  for (const auto& entry : config.account.entries()) parts.push_back(entry.part);
  EXPECT_THAT(parts, ::testing::UnorderedElementsAre("novel", "velora_config"));
}

TEST(AdapterConfig, BadValues) {
  EXPECT_THAT(fault({{"r", 0}}), HasSubstr("\"r\" is 0"));
  EXPECT_THAT(fault({{"r", "8"}}), HasSubstr("\"r\" is a string"));
  EXPECT_THAT(fault({{"lora_dropout", 1.0}}), HasSubstr("lora_dropout"));
  EXPECT_THAT(fault({{"target_modules", nullptr}}), HasSubstr("target_modules"));
  EXPECT_THAT(fault({{"target_modules", {1}}}), HasSubstr("target_modules"));
  EXPECT_THAT(fault({{"rank_pattern", {{"q", 0}}}}), HasSubstr("rank"));
  EXPECT_THAT(message_of<ModelError>([&] {
                AdapterMatcher(parse({{"target_modules", "(q"}}), "c.json");
              }),
              AllOf(HasSubstr("c.json: target_modules"), HasSubstr("(q")));
}

const std::vector<std::string> kModules = {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj",
                                           "model.layers.1.self_attn.q_proj", "model.layers.1.mlp.experts.0.q_proj",
                                           "lm_head"};
std::vector<std::string> targets(const json& changes) {
  const AdapterMatcher matcher(parse(changes), "c");
  std::vector<std::string> result;
  for (const auto& module : kModules) {
    if (matcher.is_target(module)) result.push_back(module);
  }
  return result;
}

TEST(AdapterMatcher, ChoosesTheModulesThatPeftChooses) {
  EXPECT_THAT(targets({}), ElementsAre(kModules[0], kModules[2], kModules[3]));
  EXPECT_THAT(targets({{"target_modules", {"proj"}}}), ElementsAre());
  EXPECT_THAT(targets({{"target_modules", ".*[qk]_proj"}}),
              ElementsAre(kModules[0], kModules[1], kModules[2], kModules[3]));
  EXPECT_THAT(targets({{"target_modules", "q_proj"}}), ElementsAre()) << "a string is a pattern for the whole path";
  EXPECT_THAT(targets({{"layers_to_transform", {0}}}), ElementsAre(kModules[0]));
  EXPECT_THAT(targets({{"layers_to_transform", {1}}, {"layers_pattern", "layers"}}),
              ElementsAre(kModules[2], kModules[3]));
  EXPECT_THAT(targets({{"layers_to_transform", {0}}, {"layers_pattern", "experts"}}), ElementsAre(kModules[3]));
  EXPECT_THAT(targets({{"layers_to_transform", {1}}, {"target_modules", {kModules[0]}}}), ElementsAre(kModules[0]));
  EXPECT_THAT(targets({{"exclude_modules", {"self_attn.q_proj"}}}), ElementsAre(kModules[3]));
  EXPECT_THAT(targets({{"modules_to_save", {"mlp"}}}), ElementsAre(kModules[0], kModules[2]));
}

TEST(AdapterMatcher, RankAlphaAndScale) {
  const AdapterMatcher matcher(
      parse({{"rank_pattern", {{"layers.0.self_attn.q_proj", 16}}}, {"alpha_pattern", {{"q_proj", 32}}}}), "c");
  EXPECT_EQ(matcher.rank(kModules[0]), 16);
  EXPECT_EQ(matcher.rank(kModules[2]), 4);
  EXPECT_EQ(matcher.scale(kModules[0]), 2);
  EXPECT_EQ(matcher.scale(kModules[1]), 2);
  EXPECT_EQ(AdapterMatcher(parse({{"use_rslora", true}}), "c").scale("x"), 4);
}

TEST(AdapterMatcher, B21_EveryPatternMustMatch) {
  const AdapterMatcher matcher(
      parse({{"target_modules", {"q_proj", "qq_proj"}}, {"modules_to_save", {"lm_head", "head"}}}), "c");
  EXPECT_THAT(matcher.unmatched(kModules), ElementsAre("qq_proj", "head"));
  EXPECT_THAT(AdapterMatcher(parse({{"target_modules", "nothing"}}), "c").unmatched(kModules), ElementsAre("nothing"));
}

TEST(AdapterKeys, BothWays) {
  const std::string module = "model.layers.3.mlp.down_proj";
  EXPECT_EQ(lora_a_key(module), "base_model.model.model.layers.3.mlp.down_proj.lora_A.weight");
  using Kind = AdapterTensorKind;
  const auto expect = [](const std::string& key, const AdapterTensorName& name) {
    EXPECT_EQ(parse_adapter_key(key, "f"), name) << key;
  };
  expect(lora_a_key(module), {module, Kind::lora_a, ""});
  expect(lora_b_key(module), {module, Kind::lora_b, ""});
  expect(lora_magnitude_key(module), {module, Kind::lora_magnitude, ""});
  expect(saved_module_key("lm_head"), {"lm_head", Kind::saved_module, "weight"});
  expect("base_model.model." + module + ".lora_B.default.weight", {module, Kind::lora_b, ""});
  expect("base_model.model." + module + ".lora_magnitude_vector.default.weight", {module, Kind::lora_magnitude, ""});
  expect("base_model.model.lm_head.modules_to_save.default.weight", {"lm_head", Kind::saved_module, "weight"});
  expect("base_model.model.m.mlp.modules_to_save.default.up.bias", {"m.mlp.up", Kind::saved_module, "bias"});
}

TEST(AdapterKeys, OtherNamesAreRefused) {
  for (const char* key :
       {"model.layers.0.q_proj.lora_A.weight", "base_model.model.x.lora_A", "base_model.model.x.lora_C.weight",
        "base_model.model.x.lora_A.a.b.weight", "base_model.model.x.original_module.weight",
        "base_model.model.x.lora_embedding_A", "base_model.model.weight"}) {
    EXPECT_THAT(message_of<ModelError>([&] { parse_adapter_key(key, "f.safetensors"); }),
                AllOf(HasSubstr("f.safetensors"), HasSubstr(key)));
  }
}

class AdapterFolder : public ::testing::Test {
 protected:
  void save(const std::map<std::string, std::vector<std::int64_t>>& tensors, const json& changes = {}) {
    auto config = minimal();
    config.update(changes.is_null() ? json::object() : changes);
    put_file(folder_ / kAdapterConfigFile, config.dump());
    std::vector<TensorToSave> list;
    for (const auto& [name, shape] : tensors) list.push_back({name, Dtype::f32, shape, zeros_.data()});
    save_safetensors(folder_ / kAdapterWeightsFile, list);
  }
  std::string fault() {
    return message_of<ModelError>([&] { AdapterFiles{folder_.path()}; });
  }
  const std::string q_ = "model.layers.0.self_attn.q_proj";
  std::vector<float> zeros_ = std::vector<float>(4096);
  TemporaryFolder folder_;
};

TEST_F(AdapterFolder, PairsAndSavedModules) {
  save({{lora_a_key(q_), {4, 16}}, {lora_b_key(q_), {32, 4}}, {saved_module_key("lm_head"), {8, 16}}},
       {{"modules_to_save", {"lm_head"}}});
  const AdapterFiles files(folder_.path());
  EXPECT_THAT(files.pairs().at(q_).a->shape, ElementsAre(4, 16));
  EXPECT_THAT(files.saved().at("lm_head.weight")->shape, ElementsAre(8, 16));
  EXPECT_EQ(files.matcher().scale(q_), 2);
}

TEST_F(AdapterFolder, WhatIsWrongIsNamed) {
  save({{lora_a_key(q_), {4, 16}}});
  EXPECT_THAT(fault(), AllOf(HasSubstr(q_), HasSubstr("lora_B is missing")));
  save({{lora_a_key(q_), {3, 16}}, {lora_b_key(q_), {32, 3}}});
  EXPECT_THAT(fault(), AllOf(HasSubstr("rank 3"), HasSubstr("config says 4")));
  save({{lora_a_key(q_), {4, 16}}, {lora_b_key(q_), {4, 32}}});
  EXPECT_THAT(fault(), HasSubstr("no pair"));
  save({{lora_a_key("model.o_proj"), {4, 16}}, {lora_b_key("model.o_proj"), {32, 4}}});
  EXPECT_THAT(fault(), HasSubstr("target_modules"));
  save({{lora_a_key(q_), {4, 16}}, {lora_b_key(q_), {32, 4}}, {lora_magnitude_key(q_), {32}}});
  EXPECT_THAT(fault(), HasSubstr("magnitude"));
  save({{lora_a_key(q_), {4, 16}},
        {lora_b_key(q_), {32, 4}},
        {"base_model.model." + q_ + ".lora_A.default.weight", {4, 16}}});
  EXPECT_THAT(fault(), HasSubstr("same one"));
}

TEST_F(AdapterFolder, B15_AnEmptyAdapterIsAnError) {
  save({});
  EXPECT_THAT(fault(), HasSubstr("empty"));
}

TEST_F(AdapterFolder, PicklesAreNotExecuted) {
  put_file(folder_ / kAdapterConfigFile, minimal().dump());
  EXPECT_THAT(fault(), HasSubstr("holds no adapter_model.safetensors"));
  put_file(folder_ / "adapter_model.bin", "x");
  EXPECT_THAT(fault(), AllOf(HasSubstr("pickle"), HasSubstr("doesn't execute")));
}

TEST_F(AdapterFolder, NoConfigAndNoFolder) {
  EXPECT_THAT(fault(), HasSubstr("adapter_config.json"));
  EXPECT_THROW(AdapterFiles(folder_ / "absent"), FileError);
}

}  // namespace
}  // namespace lorica::io
