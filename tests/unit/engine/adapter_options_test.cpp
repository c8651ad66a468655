// Options beside --adapter: the adapter's own settings hold, are recorded, and what says otherwise is refused by name.
#include "engine/adapter_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/temporary_folder.hpp"
#include "engine/tiny_model.hpp"
#include "io/peft_adapter.hpp"

namespace lorica::engine {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class AdapterOptions : public testing::Test {
 protected:
  AdapterOptions() {
    adapter_.rank = 4;
    adapter_.alpha = 12;
    adapter_.dropout = 0.25;
    adapter_.use_rslora = true;
    adapter_.target_modules = {"v_proj", "q_proj"};
    adapter_.layers_to_transform = std::vector<std::int64_t>{0, 1, 2};
    adapter_.modules_to_save = {"lm_head"};
    // What "all-linear" stands for depends on the model.
    std::filesystem::create_directories(folder_ / "model");
    io::write_json(folder_ / "model" / "config.json", test::tiny_architecture("llama"));
  }
  config::ParsedConfig adopted(std::vector<std::string> words) {
    io::write_adapter_config(folder_ / io::kAdapterConfigFile, adapter_);
    const std::vector<std::string> base = {"--model_name", (folder_ / "model").string(), "--train_type", "lora",
                                           "--adapter",    (folder_ / "").string()};
    words.insert(words.begin(), base.begin(), base.end());
    auto parsed = config::parse(config::Command::train, words);
    adopt_adapter_options(parsed);
    return parsed;
  }
  std::string refusal(const std::vector<std::string>& words) {
    try {
      adopted(words);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  }

  test::TemporaryFolder folder_;
  io::AdapterConfig adapter_;
};

TEST_F(AdapterOptions, AreTheAdaptersAndRecordedSo) {
  const auto config = adopted({}).config;
  EXPECT_EQ(config.lora_rank, 4);
  EXPECT_EQ(config.lora_alpha, 12);
  EXPECT_EQ(config.lora_dropout, 0.25);
  EXPECT_TRUE(config.use_rslora);
  EXPECT_THAT(config.lora_target_modules, ElementsAre("v_proj", "q_proj"));
  EXPECT_THAT(config.layers_to_transform, ElementsAre(0, 1, 2));
  EXPECT_THAT(config.modules_to_save, ElementsAre("lm_head"));
  EXPECT_THAT(config::to_toml(config), AllOf(HasSubstr("lora_rank = 4\n"), HasSubstr("lora_dropout = 0.25\n")));
}

TEST_F(AdapterOptions, ThatSayOtherwiseAreRefusedEachByName) {
  const auto message =
      refusal({"--lora_rank", "8", "--lora_alpha", "12", "--lora_dropout", "0", "--use_rslora", "false",
               "--target_modules", "q_proj", "--layers_to_transform", "1", "--modules_to_save", "embed_tokens"});
  EXPECT_THAT(
      message,
      AllOf(HasSubstr("--lora_rank 8 (the adapter has 4)"), HasSubstr("--lora_dropout 0.0 (the adapter has 0.25)"),
            HasSubstr("--use_rslora false (the adapter has true)"),
            HasSubstr("--target_modules [\"q_proj\"] (the adapter has [\"v_proj\", \"q_proj\"])"),
            HasSubstr("--layers_to_transform \"1\" (the adapter has \"0:2\")"), HasSubstr("--modules_to_save")));
  EXPECT_THAT(message, Not(HasSubstr("lora_alpha")));
}

TEST_F(AdapterOptions, MayRepeatWhatTheAdapterHas) {
  EXPECT_EQ(refusal({"--r", "4", "--lora_alpha", "12", "--lora_target_modules", "q_proj,v_proj",
                     "--layers_to_transform", "0:2", "--modules_to_save", "lm_head"}),
            "");
  adapter_.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  EXPECT_EQ(refusal({"--lora_target_modules", "all-linear"}), "");
}

TEST_F(AdapterOptions, AreLeftAloneWithoutAnAdapter) {
  auto parsed = config::parse(config::Command::train, {"--model_name", "m", "--lora_rank", "9"});
  adopt_adapter_options(parsed);
  EXPECT_EQ(parsed.config.lora_rank, 9);
}

}  // namespace
}  // namespace lorica::engine
