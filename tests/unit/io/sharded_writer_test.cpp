// Weights in shards: dealt by size, indexed, read back; and the config.json beside them.
#include "io/sharded_writer.hpp"

#include <gmock/gmock.h>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/temporary_folder.hpp"
#include "io/json.hpp"
#include "io/saved_config.hpp"

namespace lorica::io {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<ShardedWriter::Tensor> three() {
  return {{"a", Dtype::f32, {4}}, {"b", Dtype::bf16, {100}}, {"c", Dtype::f32, {2, 3}}};
}

void fill(ShardedWriter& writer) {
  for (const auto& name : writer.order()) {
    const std::string data(name == "a" ? 16 : name == "b" ? 200 : 24, name[0]);
    writer.write(name, data.data(), data.size());
  }
}

TEST(ShardedWriter, DealsByOrderAndSize) {
  TemporaryFolder folder;
  ShardedWriter writer(folder.path(), three(), 100);
  EXPECT_EQ(writer.files(), 3U) << "what is larger than a shard has one of its own";
  EXPECT_EQ(writer.total_bytes(), 240U);
  EXPECT_EQ(writer.main_dtype(), Dtype::bf16);
  EXPECT_THAT(writer.order(), ElementsAre("a", "b", "c"));
  fill(writer);
  writer.finish();
  const auto index = read_json(folder / "model.safetensors.index.json");
  EXPECT_EQ(index.at("metadata").at("total_size"), 240);
  EXPECT_EQ(index.at("weight_map").at("b"), "model-00002-of-00003.safetensors");
  const WeightFiles files(folder.path());
  EXPECT_THAT(files.names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(static_cast<char>(files.at("c").data[23]), 'c');
}

TEST(ShardedWriter, OneFileHasNoIndex) {
  TemporaryFolder folder;
  ShardedWriter writer(folder.path(), three(), 0, "adapter_model.safetensors");
  fill(writer);
  writer.finish();
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder.path())) names.push_back(entry.path().filename().string());
  EXPECT_THAT(names, ElementsAre("adapter_model.safetensors"));
}

TEST(ShardedWriter, ReadsBackWhatItWrote) {
  TemporaryFolder folder;
  ShardedWriter writer(folder.path(), three(), 100);
  fill(writer);
  const auto file = folder / "model-00002-of-00003.safetensors";
  auto content = read_file(file);
  content[content.size() - 7] ^= 1;
  write_file(file, content);
  EXPECT_THAT(message_of<Error>([&] { writer.finish(); }),
              testing::AllOf(HasSubstr("model-00002-of-00003"), HasSubstr("'b' reads back differently")));
}

TEST(ShardedWriter, AsksForTheRoomFirst) {
  TemporaryFolder folder;
  EXPECT_THAT(message_of<FileError>([&] {
                ShardedWriter(folder.path(), {{"a", Dtype::f32, {1LL << 50}}}, 0);
              }),
              testing::AllOf(HasSubstr("are needed"), HasSubstr("are free")));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(ConfigForSaved, SaysWhatWasWritten) {
  using json = nlohmann::ordered_json;
  const auto saved = [](const char* base, Dtype dtype, bool ties = false) {
    return config_for_saved(json::parse(base), dtype, ties).dump();
  };
  EXPECT_EQ(saved(R"({"b":1,"torch_dtype":"bfloat16","a":2})", Dtype::f32), R"({"b":1,"torch_dtype":"float32","a":2})");
  EXPECT_EQ(saved(R"({"dtype":"float32"})", Dtype::bf16), R"({"dtype":"bfloat16"})");
  EXPECT_EQ(saved(R"({"dtype":"float32","torch_dtype":"float32"})", Dtype::f16),
            R"({"dtype":"float16","torch_dtype":"float16"})");
  EXPECT_EQ(saved("{}", Dtype::bf16), R"({"torch_dtype":"bfloat16"})");
  EXPECT_EQ(saved(R"({"quantization_config":{"load_in_4bit":true},"architectures":["X"],"auto_map":{}})", Dtype::bf16),
            R"({"architectures":["X"],"auto_map":{},"torch_dtype":"bfloat16"})");
  EXPECT_EQ(saved(R"({"tie_word_embeddings":true,"dtype":"x"})", Dtype::f32, false),
            R"({"tie_word_embeddings":false,"dtype":"float32"})");
}

}  // namespace
}  // namespace lorica::io
