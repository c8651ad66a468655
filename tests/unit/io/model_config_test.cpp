#include "io/model_config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/temporary_folder.hpp"
#include "io/json.hpp"

namespace lorica::io {
namespace {

using test::message_of;
using test::put_file;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::optional<BitsAndBytesConfig> read(const char* entry) {
  return read_quantization_config(nlohmann::json::parse(fmt::format("{{\"quantization_config\":{}}}", entry)),
                                  "config.json");
}
std::string fault(const char* entry) {
  return message_of<ModelError>([&] { read(entry); });
}

TEST(Json, ErrorsNameFileLineAndColumn) {
  TemporaryFolder folder;
  put_file(folder / "config.json", "{\n  \"a\": 1,\n  \"b\": nul\n}");
  EXPECT_THAT(message_of<ModelError>([&] { read_json(folder / "config.json"); }),
              AllOf(HasSubstr("config.json:3:11"), HasSubstr("malformed JSON")));
  put_file(folder / "config.json", "");
  EXPECT_THAT(message_of<ModelError>([&] { read_json(folder / "config.json"); }), HasSubstr("config.json:1:1"));
  EXPECT_THROW(read_json(folder / "absent.json"), FileError);
}

TEST(Json, ANumberThatNoDoubleHoldsIsAFaultWithItsPlace) {
  EXPECT_THAT(message_of<ModelError>([&] { parse_json("{\"a\": 1,\n \"b\": 1e999}", "x"); }),
              AllOf(HasSubstr("x:2:"), HasSubstr("1e999"), Not(HasSubstr("json.exception"))));
  EXPECT_EQ(find_json_fault("[1e308]"), std::nullopt);
  EXPECT_EQ(find_json_fault("[1,\n-1e400]")->line, 2U);
}

TEST(Json, EndlessNestingIsRefusedAndBracketsInStringsAreNot) {
  EXPECT_THAT(message_of<ModelError>([&] { parse_json(std::string(100000, '['), "x"); }), HasSubstr("x:1:257"));
  const auto quoted = "[\"\\\"" + std::string(1000, '[') + "\"]";
  EXPECT_EQ(parse_json(quoted, "x").size(), 1U);
}

TEST(Json, InvalidBytesDoNotReachTheTerminal) {
  const auto message = message_of<ModelError>([&] { parse_json("{\"a\": \"\xff\x1b[31m\"}", "x"); });
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(Json, FieldsNameTheKeyAndBothTypes) {
  const auto object = nlohmann::json::parse(R"({"n":1.5,"s":"x","l":["a",1],"z":null,"big":18446744073709551615})");
  const JsonFields fields(object, "f.json");
  EXPECT_EQ(fields.number("n"), 1.5);
  EXPECT_EQ(fields.integer("z"), std::nullopt);
  EXPECT_FALSE(fields.has("z"));
  EXPECT_THAT(message_of<ModelError>([&] { fields.integer("n"); }),
              AllOf(HasSubstr("f.json: \"n\" is a number"), HasSubstr("an integer")));
  EXPECT_THAT(message_of<ModelError>([&] { fields.integer("big"); }), HasSubstr("64 bits"));
  EXPECT_THAT(message_of<ModelError>([&] { fields.strings("l"); }), HasSubstr("holds an integer"));
  EXPECT_THAT(message_of<ModelError>([&] { fields.boolean("s"); }), HasSubstr("true or false"));
  const auto list = nlohmann::json::array();
  EXPECT_THROW(JsonFields(list, "f.json"), ModelError);
}

TEST(QuantizationConfig, AllFieldsAndTheirDefaults) {
  EXPECT_EQ(read_quantization_config(nlohmann::json::object(), "config.json"), std::nullopt);
  EXPECT_EQ(read("null"), std::nullopt);
  const auto plain = read(R"({"load_in_4bit":true})");
  EXPECT_EQ(plain->quant_type, "fp4");
  EXPECT_FALSE(plain->double_quantization);
  const auto full = read(
      R"({"quant_method":"bitsandbytes","load_in_4bit":true,"load_in_8bit":false,"bnb_4bit_quant_type":"nf4",
          "bnb_4bit_use_double_quant":true,"bnb_4bit_compute_dtype":"torch.bfloat16","bnb_4bit_quant_storage":"bfloat16",
          "llm_int8_skip_modules":["lm_head","model.layers.1.mlp"]})");
  const BitsAndBytesConfig expected{"nf4", true, "bfloat16", "bfloat16", {"lm_head", "model.layers.1.mlp"}};
  EXPECT_EQ(full, expected);
  EXPECT_EQ(read(to_json(expected).dump().c_str()), expected);
  const auto bytes = read(R"({"quant_method":"bitsandbytes","load_in_4bit":false,"load_in_8bit":true})");
  EXPECT_TRUE(bytes->eight_bits);
  EXPECT_FALSE(full->eight_bits);
  EXPECT_EQ(read(to_json(*bytes).dump().c_str()), bytes);
}

TEST(QuantizationConfig, WhatIsNotSupportedIsRefusedByName) {
  EXPECT_THAT(fault(R"({"quant_method":"gptq","bits":4})"),
              AllOf(HasSubstr("config.json"), HasSubstr("by GPTQ (\"gptq\")"), HasSubstr("16-bit model")));
  EXPECT_THAT(fault(R"({"quant_method":"fp8"})"), HasSubstr("FineGrainedFP8Config(dequantize=True)"));
  EXPECT_THAT(fault(R"({"quant_method":"brand-new"})"), HasSubstr("doesn't know (\"brand-new\")"));
  EXPECT_THAT(message_of<ModelError>([&] {
                read_quantization_config({{"compression_config", {{"format", "x"}}}}, "config.json");
              }),
              HasSubstr("llm-compressor"));
  EXPECT_THAT(fault(R"({})"), HasSubstr("load_in_4bit"));
  EXPECT_THAT(fault(R"({"load_in_4bit":true,"bnb_4bit_quant_type":"nf5"})"),
              AllOf(HasSubstr("nf5"), HasSubstr("nf4, fp4")));
  EXPECT_THAT(fault(R"({"load_in_4bit":"yes"})"), HasSubstr("true or false"));
  EXPECT_THAT(fault("[1]"), HasSubstr("quantization_config"));
}

TEST(QuantizationConfig, LeavesAsideWhatItDoesNotKnow) {
  const auto config = nlohmann::json::parse(
      R"({"quantization_config":{"load_in_4bit":true,"llm_int8_threshold":6.0,"bnb_5bit":1,"bnb_off":null}})");
  Account account;
  read_quantization_config(config, "config.json", &account);
  ASSERT_EQ(account.entries().size(), 1U);
  EXPECT_EQ(account.entries()[0].part, "quantization_config.bnb_5bit");
}

// The rule of transformers' should_convert_module().
TEST(QuantizationConfig, SkipsModulesAsTransformersDoes) {
  BitsAndBytesConfig config;
  EXPECT_TRUE(skips_module(config, "lm_head"));
  EXPECT_FALSE(skips_module(config, "model.layers.0.mlp.up_proj"));
  config.skip_modules = {"model.layers.1", "o_proj", "model.layers.2.mlp.gate"};
  EXPECT_TRUE(skips_module(config, "model.layers.1.mlp.up_proj"));
  EXPECT_FALSE(skips_module(config, "model.layers.11.mlp.up_proj"));
  EXPECT_TRUE(skips_module(config, "model.layers.3.self_attn.o_proj"));
  EXPECT_FALSE(skips_module(config, "model.layers.2.mlp.gate_proj"));
  EXPECT_FALSE(skips_module(config, "lm_head"));
}

}  // namespace
}  // namespace lorica::io
