#include "io/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/random.hpp"
#include "base/temporary_folder.hpp"

namespace lorica::io {
namespace {

using test::message_of;
using test::put_file;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A file with the given header and data, its length field right.
std::string raw_file(std::string_view header, std::string_view data) {
  const std::uint64_t length = header.size();
  std::string content(reinterpret_cast<const char*>(&length), sizeof length);
  content += header;
  content += data;
  return content;
}

std::string fault(const TemporaryFolder& folder, const std::string& content) {
  put_file(folder / "bad.safetensors", content);
  const auto message = message_of<ModelError>([&] { SafetensorsFile(folder / "bad.safetensors"); });
  EXPECT_THAT(message, HasSubstr("bad.safetensors"));
  return message;
}

std::vector<float> floats(std::size_t count, float first = 0) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

TEST(Dtype, NamesAndSizesGoBothWays) {
  for (int i = 0; i <= static_cast<int>(Dtype::boolean); ++i) {
    const auto dtype = static_cast<Dtype>(i);
    EXPECT_EQ(parse_dtype(dtype_name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_size(Dtype::bf16), 2U);
  EXPECT_EQ(dtype_size(Dtype::f8_e4m3), 1U);
  EXPECT_EQ(dtype_size(Dtype::i64), 8U);
  EXPECT_EQ(parse_dtype("F4"), std::nullopt);
}

TEST(Safetensors, WhatIsWrittenIsReadBack) {
  TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  const auto weight = floats(6);
  const std::uint8_t codes[3] = {1, 2, 3};
  const std::int64_t scalar = 42;
  save_safetensors(file,
                   {{"codes", Dtype::u8, {3}, codes},
                    {"empty", Dtype::f32, {0, 4}, nullptr},
                    {"weight", Dtype::f32, {2, 3}, weight.data()},
                    {"scalar", Dtype::i64, {}, &scalar}},
                   {{"format", "pt"}, {"who", "us"}});
  const SafetensorsFile read(file);
  ASSERT_EQ(read.tensors().size(), 4U);
  EXPECT_EQ(read.metadata().at("who"), "us");
  const auto& view = *read.find("weight");
  EXPECT_THAT(view.shape, ElementsAre(2, 3));
  EXPECT_EQ(view.elements(), 6);
  EXPECT_EQ(std::memcmp(view.data, weight.data(), view.bytes), 0);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.data) % 4, 0U);
  EXPECT_EQ(std::memcmp(read.find("codes")->data, codes, 3), 0);
  EXPECT_EQ(std::memcmp(read.find("scalar")->data, &scalar, 8), 0);
  EXPECT_EQ(read.find("scalar")->elements(), 1);
  EXPECT_EQ(read.find("empty")->bytes, 0U);
  EXPECT_EQ(read.find("absent"), nullptr);
  read.release(view);
  EXPECT_EQ(std::memcmp(view.data, weight.data(), view.bytes), 0) << "released pages must read the same again";
}

TEST(Safetensors, WideTypesComeFirstSoThatAllAreAligned) {
  TemporaryFolder folder;
  SafetensorsWriter writer(folder / "a.safetensors");
  writer.declare("bytes", Dtype::u8, {3});
  writer.declare("half", Dtype::bf16, {1});
  writer.declare("wide", Dtype::f64, {1});
  writer.declare("half2", Dtype::f16, {1});
  EXPECT_THAT(writer.order(), ElementsAre("wide", "half", "half2", "bytes"));
}

TEST(Safetensors, AnEmptyFileOfTensorsIsValid) {
  TemporaryFolder folder;
  save_safetensors(folder / "a.safetensors", {}, {});
  EXPECT_TRUE(SafetensorsFile(folder / "a.safetensors").tensors().empty());
}

TEST(Safetensors, NothingAppearsWithoutCommit) {
  TemporaryFolder folder;
  {
    SafetensorsWriter writer(folder / "a.safetensors");
    writer.declare("x", Dtype::u8, {1});
    writer.write("x", "y", 1);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, TheWritersMisuseIsAnInternalError) {
  TemporaryFolder folder;
  SafetensorsWriter writer(folder / "a.safetensors");
  writer.declare("x", Dtype::u8, {2});
  writer.declare("y", Dtype::u8, {2});
  EXPECT_THROW(writer.declare("x", Dtype::u8, {2}), Error);
  EXPECT_THROW(writer.write("z", "ab", 2), Error);
  EXPECT_THROW(writer.write("x", "abc", 3), Error);
  writer.write("x", "ab", 2);
  EXPECT_THROW(writer.write("x", "ab", 2), Error);
  EXPECT_THROW(writer.commit(), Error) << "y was never written";
}

TEST(Safetensors, AFolderThatDoesNotExistIsAFileError) {
  TemporaryFolder folder;
  EXPECT_THROW(save_safetensors(folder / "no" / "a.safetensors", {}), FileError);
}

TEST(Safetensors, MoreThanTheDiskHoldsIsRefusedBeforeWriting) {
  TemporaryFolder folder;
  SafetensorsWriter writer(folder / "a.safetensors");
  writer.declare("huge", Dtype::f32, {std::int64_t{1} << 58});
  writer.declare("x", Dtype::u8, {1});
  EXPECT_THAT(message_of<FileError>([&] { writer.write("x", "y", 1); }),
              AllOf(HasSubstr("a.safetensors"), HasSubstr("are free")));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(BadSafetensors, TruncatedAnywhere) {
  TemporaryFolder folder;
  const auto values = floats(4);
  save_safetensors(folder / "good.safetensors", {{"w", Dtype::f32, {4}, values.data()}});
  const auto content = read_file(folder / "good.safetensors");
  for (std::size_t length = 0; length < content.size(); ++length) {
    put_file(folder / "bad.safetensors", content.substr(0, length));
    EXPECT_THROW(SafetensorsFile(folder / "bad.safetensors"), ModelError) << length;
  }
  EXPECT_THAT(fault(folder, content.substr(0, content.size() - 1)), HasSubstr("truncated"));
  EXPECT_THAT(fault(folder, content.substr(0, 5)), HasSubstr("5 bytes"));
}

TEST(BadSafetensors, HeaderLengthBeyondTheFile) {
  TemporaryFolder folder;
  auto content = raw_file("{}", "");
  content[7] = '\x7f';
  EXPECT_THAT(fault(folder, content), HasSubstr("header claims"));
  content = raw_file("{}", "");
  content[0] = 3;
  EXPECT_THAT(fault(folder, content), HasSubstr("header claims 3 bytes, but only 2 follow"));
}

TEST(BadSafetensors, OverlapsHolesAndTails) {
  TemporaryFolder folder;
  EXPECT_THAT(fault(folder, raw_file(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                     R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                                     "123456")),
              AllOf(HasSubstr("overlap"), HasSubstr("\"a\""), HasSubstr("\"b\"")));
  EXPECT_THAT(fault(folder, raw_file(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                                     R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
                                     "123456")),
              HasSubstr("2 bytes before tensor \"b\""));
  EXPECT_THAT(fault(folder, raw_file(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "123")),
              HasSubstr("1 bytes after the last tensor"));
  EXPECT_THAT(fault(folder, raw_file(R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", "123")),
              HasSubstr("truncated"));
}

TEST(BadSafetensors, EveryFieldOfTheHeaderIsChecked) {
  TemporaryFolder folder;
  const auto with = [&](const char* entry) {
    return fault(folder, raw_file(fmt::format("{{\"t\":{}}}", entry), "1234"));
  };
  EXPECT_THAT(with(R"({"dtype":"F4","shape":[1],"data_offsets":[0,4]})"), HasSubstr("\"F4\""));
  EXPECT_THAT(with(R"({"dtype":7,"shape":[1],"data_offsets":[0,4]})"), HasSubstr("element type"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), HasSubstr("need 8"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), HasSubstr("negative"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})"), HasSubstr("fractional"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":4,"data_offsets":[0,4]})"), HasSubstr("no list"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})"), HasSubstr("overflows"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]})"), HasSubstr("overflowing"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), HasSubstr("ends before"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})"), HasSubstr("two numbers"));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[1]})"), HasSubstr("data_offsets"));
  EXPECT_THAT(with("3"), HasSubstr("dtype"));
}

TEST(BadSafetensors, DuplicatesMalformedJsonAndOtherFormats) {
  TemporaryFolder folder;
  const std::string entry = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(fault(folder, raw_file("{\"a\":" + entry + ",\"a\":" + entry + "}", "1")), HasSubstr("twice"));
  EXPECT_THAT(fault(folder, raw_file("{\"a\":", "")), HasSubstr("malformed JSON"));
  EXPECT_THAT(fault(folder, raw_file(R"({"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}})", "abcd")),
              AllOf(HasSubstr("malformed JSON"), HasSubstr("1e999")));
  EXPECT_THAT(fault(folder, raw_file("[]", "")), HasSubstr("no JSON object"));
  EXPECT_THAT(fault(folder, raw_file(R"({"__metadata__":{"a":1}})", "")), HasSubstr("metadata"));
  EXPECT_THAT(fault(folder, raw_file("{\"a\":" + std::string(1000, '[') + std::string(1000, ']') + "}", "")),
              HasSubstr("nested"));
  EXPECT_THAT(fault(folder, "version https://git-lfs.example/spec/v1\noid sha256:0\n"), HasSubstr("Git LFS"));
}

/// Bit flips and truncations, seeded: a damaged file loads with tensors that lie inside it, or is refused. Run under
/// AddressSanitizer this also proves that nothing outside the mapping is touched.
TEST(BadSafetensors, FuzzNeverCrashes) {
  TemporaryFolder folder;
  const auto values = floats(64);
  save_safetensors(folder / "good.safetensors", {{"model.a", Dtype::f32, {8, 4}, values.data()},
                                                 {"model.b", Dtype::bf16, {16, 2}, values.data()},
                                                 {"model.c", Dtype::u8, {7}, values.data()}});
  const auto good = read_file(folder / "good.safetensors");
  int loaded = 0, refused = 0;
  for (std::uint64_t trial = 0; trial < 3000; ++trial) {
    const auto draw = [&](std::uint64_t counter, std::size_t limit) {
      return static_cast<std::size_t>(random_bits(random_key({1234, trial}), counter) % limit);
    };
    auto bad = good;
    if (trial % 4 == 0) bad.resize(draw(0, good.size()));
    for (std::size_t flip = 0; flip < 1 + draw(1, 3) && !bad.empty(); ++flip) {
      bad[draw(2 + 2 * flip, bad.size())] ^= static_cast<char>(1 << draw(3 + 2 * flip, 8));
    }
    put_file(folder / "bad.safetensors", bad);
    try {
      const SafetensorsFile file(folder / "bad.safetensors");
      std::uint64_t sum = 0;
      for (const auto& [name, tensor] : file.tensors()) {
        EXPECT_EQ(static_cast<std::size_t>(tensor.elements()) * dtype_size(tensor.dtype), tensor.bytes);
        for (std::size_t i = 0; i < tensor.bytes; ++i) sum += static_cast<std::uint64_t>(tensor.data[i]);
      }
      EXPECT_GT(sum, 0U);
      ++loaded;
    } catch (const ModelError&) {
      ++refused;
    }
  }
  EXPECT_GT(loaded, 100);  // flips in the data, or in a tensor's name
  EXPECT_GT(refused, 100);
}

class Folder : public ::testing::Test {
 protected:
  void save(const std::string& file, const std::vector<std::string>& names) {
    std::vector<TensorToSave> tensors;
    for (const auto& name : names) tensors.push_back({name, Dtype::f32, {4}, values_.data()});
    save_safetensors(folder_ / file, tensors);
  }
  std::string fault() {
    return message_of<ModelError>([&] { WeightFiles{folder_.path()}; });
  }
  std::vector<float> values_ = floats(4);
  TemporaryFolder folder_;
};

TEST_F(Folder, OneFileOrItsPath) {
  save("model.safetensors", {"b", "a"});
  const WeightFiles weights(folder_.path());
  EXPECT_THAT(weights.names(), ElementsAre("a", "b"));
  EXPECT_EQ(weights.file_of("a"), folder_ / "model.safetensors");
  EXPECT_EQ(WeightFiles(folder_ / "model.safetensors").names().size(), 2U);
  weights.release(weights.at("a"));
  EXPECT_EQ(std::memcmp(weights.at("a").data, values_.data(), 16), 0);
}

TEST_F(Folder, ShardsOfTheIndex) {
  save("one.safetensors", {"a"});
  save("two.safetensors", {"b"});
  put_file(folder_ / "model.safetensors.index.json",
           R"({"metadata":{},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const WeightFiles weights(folder_.path());
  EXPECT_EQ(weights.files().size(), 2U);
  EXPECT_EQ(weights.file_of("b"), folder_ / "two.safetensors");
}

TEST_F(Folder, AMissingTensorNamesTheNearest) {
  save("model.safetensors", {"model.layers.0.self_attn.q_proj.weight", "other"});
  const WeightFiles weights(folder_.path());
  EXPECT_EQ(weights.find("model.layers.0.self_attn.qproj.weight"), nullptr);
  EXPECT_THAT(
      message_of<ModelError>([&] { weights.at("model.layers.0.self_attn.qproj.weight"); }),
      AllOf(HasSubstr("self_attn.qproj"), HasSubstr("nearest name is \"model.layers.0.self_attn.q_proj.weight\""),
            HasSubstr(folder_.path().string())));
}

TEST_F(Folder, MissingShard) {
  save("one.safetensors", {"a"});
  put_file(folder_ / "model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  EXPECT_THAT(fault(), AllOf(HasSubstr("two.safetensors"), HasSubstr("missing"), HasSubstr("index.json")));
}

TEST_F(Folder, ShardWithoutATensorOfTheIndex) {
  save("one.safetensors", {"a"});
  put_file(folder_ / "model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors"}})");
  EXPECT_THAT(fault(), AllOf(HasSubstr("one.safetensors"), HasSubstr("\"b\"")));
}

TEST_F(Folder, TensorInTwoShards) {
  save("one.safetensors", {"a", "b"});
  save("two.safetensors", {"b"});
  put_file(folder_ / "model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  EXPECT_THAT(fault(),
              AllOf(HasSubstr("\"b\" is in two shards"), HasSubstr("one.safetensors"), HasSubstr("two.safetensors")));
}

TEST_F(Folder, AnIndexMayNotLeadOutOfTheFolder) {
  for (const char* name : {"../x.safetensors", "/etc/passwd", "a/../../x", ""}) {
    put_file(folder_ / "model.safetensors.index.json", fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", name));
    EXPECT_THAT(fault(), HasSubstr("not inside the model's folder")) << name;
  }
}

TEST_F(Folder, ABrokenIndexNamesLineAndColumn) {
  put_file(folder_ / "model.safetensors.index.json", "{\n  \"weight_map\": {,}\n}");
  EXPECT_THAT(fault(), HasSubstr("model.safetensors.index.json:2:18"));
  put_file(folder_ / "model.safetensors.index.json", "{}");
  EXPECT_THAT(fault(), HasSubstr("weight_map"));
  put_file(folder_ / "model.safetensors.index.json", R"({"weight_map":{"a":3}})");
  EXPECT_THAT(fault(), HasSubstr("weight_map[\"a\"]"));
}

TEST_F(Folder, ShardsWithoutAnIndexIfAllAreThere) {
  save("model-00001-of-00002.safetensors", {"a"});
  EXPECT_THAT(fault(), AllOf(HasSubstr("1 shards"), HasSubstr("speak of 2")));
  save("model-00002-of-00002.safetensors", {"b"});
  EXPECT_THAT(WeightFiles(folder_.path()).names(), ElementsAre("a", "b"));
}

TEST_F(Folder, PicklesAreNotExecuted) {
  put_file(folder_ / "pytorch_model.bin", "x");
  EXPECT_THAT(fault(), AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("pickle"), HasSubstr("save_pretrained")));
}

TEST_F(Folder, NoWeightsAndNoFolder) {
  EXPECT_THAT(fault(), HasSubstr("holds no weights"));
  EXPECT_THAT(message_of<FileError>([&] { WeightFiles(folder_ / "absent"); }), HasSubstr("no such folder"));
}

}  // namespace
}  // namespace lorica::io
