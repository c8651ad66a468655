// Merging: checked before it has a name, within what rounding explains, and nothing in the way of another try.
#include "engine/merge.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.hpp"
#include "base/files.hpp"
#include "engine/engine.hpp"
#include "engine/tiny_model.hpp"

namespace lorica::engine {
namespace {

namespace fs = std::filesystem;
using config::DataType;
using config::TrainType;
using testing::AllOf;
using testing::HasSubstr;

class MergeTest : public testing::Test {
 protected:
  /// A base, an adapter that was trained for three steps on it, and how to merge the two.
  config::Config trained(const std::string& family = "llama") {
    const auto base = tiny_model_once(family);
    auto config = test::tiny_config(base.string(), TrainType::lora);
    const auto adapter = folder_ / (family + "-adapter");
    fs::create_directories(adapter);
    const auto engine = make_engine(config, Purpose::train);
    for (int step = 0; step < 3; ++step) {
      const auto batch = test::batch_of({9, 5, 7}, 10 * step);
      engine->forward_backward({&batch, 1}, 0.1, step);
      engine->optimizer_step(1e-2, 1.0);
    }
    engine->save_model(adapter);
    config.adapter = adapter.string();
    config.output = (folder_ / "merged").string();
    return config;
  }
  fs::path tiny_model_once(const std::string& family) {
    if (!fs::exists(folder_ / family)) test::tiny_model(folder_ / family, family);
    return folder_ / family;
  }
  /// Multiplies every B of the adapter.
  void scale_adapter(const config::Config& config, float factor) {
    const auto file = fs::path(config.adapter) / "adapter_model.safetensors";
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    {
      const io::SafetensorsFile saved(file);
      for (const auto& [name, view] : saved.tensors()) {
        tensors.emplace_back(name, to_tensor(view) * (name.ends_with("lora_B.weight") ? factor : 1));
      }
    }
    save_tensors(file, tensors);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) found.push_back(entry.path().filename().string());
    return found;
  }
  test::TemporaryFolder folder_;
};

TEST_F(MergeTest, StaysWithinItsTolerance) {
  for (const auto* family : {"llama", "qwen3"}) {
    for (const auto dtype : {DataType::automatic, DataType::bfloat16, DataType::float16}) {
      auto config = trained(family);
      config.dtype = dtype;
      const auto report = merge_adapter(config);
      EXPECT_GT(report.largest_logit, 0);
      EXPECT_LE(report.largest_difference, report.tolerance);
      // Narrow types differ by something, and the tolerance isn't so wide that it means nothing.
      if (dtype != DataType::automatic) {
        EXPECT_GT(report.largest_difference, report.tolerance / 100);
      }
      EXPECT_LT(report.tolerance, report.largest_logit / 4);
      fs::remove_all(config.output);
    }
  }
}

TEST_F(MergeTest, TheToleranceFollowsItsFormula) {
  EXPECT_EQ(unit_roundoff(io::Dtype::bf16), 1.0 / 256);
  EXPECT_EQ(unit_roundoff(io::Dtype::f16), 1.0 / 2048);
  EXPECT_EQ(unit_roundoff(io::Dtype::f32), 1.0 / (1 << 24));
  const MergePrecision precision{1.0 / 256, 6, 1 << 20};
  EXPECT_DOUBLE_EQ(merge_tolerance(precision, 10), 4 * (1.0 / 256 + 1024.0 / (1 << 24)) * 5 * 10);
}

TEST_F(MergeTest, IsCheckedBeforeItHasAName) {
  auto config = trained();
  scale_adapter(config, std::nanf(""));
  EXPECT_THROW(merge_adapter(config), ModelError);
  EXPECT_FALSE(fs::exists(config.output));
  EXPECT_THAT(names(), testing::UnorderedElementsAre("llama", "llama-adapter")) << "nothing is left behind";
  // Another try isn't blocked, not even by what a killed one left.
  config = trained();
  test::put_file(folder_ / ".merged.1.0.tmp/model.safetensors", "half");
  EXPECT_NO_THROW(merge_adapter(config));
  EXPECT_THAT(names(), testing::UnorderedElementsAre("llama", "llama-adapter", "merged"));
}

TEST_F(MergeTest, ReplacesAModelOnlyIfToldTo) {
  auto config = trained();
  merge_adapter(config);
  EXPECT_THAT(test::message_of<ConfigError>([&] { merge_adapter(config); }), HasSubstr("--overwrite_output_dir"));
  config.overwrite_output_dir = true;
  EXPECT_NO_THROW(merge_adapter(config));
  config.output = config.model_name;
  EXPECT_THROW(merge_adapter(config), ConfigError) << "never the base itself";
  test::put_file(folder_ / "own/notes.txt", "");
  config.output = (folder_ / "own").string();
  EXPECT_THROW(merge_adapter(config), ConfigError);
}

TEST_F(MergeTest, SaysWhatFloat16CannotHold) {
  auto config = trained();
  scale_adapter(config, 1e8F);
  config.dtype = DataType::float16;
  EXPECT_THAT(test::message_of<ModelError>([&] { merge_adapter(config); }),
              AllOf(HasSubstr("float16"), HasSubstr("--dtype bfloat16")));
  EXPECT_FALSE(fs::exists(config.output));
}

// transformers reads the dtype from config.json: it is the one that was written, under the keys that were there.
TEST_F(MergeTest, WritesTheConfigOfWhatItWrote) {
  auto json = io::read_json(tiny_model_once("llama") / "config.json");
  json.update(
      {{"torch_dtype", "bfloat16"}, {"architectures", {"LlamaForCausalLM"}}, {"auto_map", {{"AutoModel", "x.py"}}}});
  io::write_json(folder_ / "llama/config.json", json);
  auto config = trained();
  config.dtype = DataType::float16;
  config.shard_size = 20'000;
  const auto report = merge_adapter(config);
  EXPECT_GT(report.files, 1);
  const auto written = io::read_json(fs::path(config.output) / "config.json");
  EXPECT_EQ(written.at("torch_dtype"), "float16");
  EXPECT_FALSE(written.contains("dtype"));
  auto rest = written;
  rest["torch_dtype"] = "bfloat16";
  EXPECT_EQ(rest, json) << "everything else as it was";
  const auto index = io::read_json(fs::path(config.output) / "model.safetensors.index.json");
  EXPECT_EQ(index.at("metadata").at("total_size").get<std::uint64_t>(), report.bytes);
}

}  // namespace
}  // namespace lorica::engine
