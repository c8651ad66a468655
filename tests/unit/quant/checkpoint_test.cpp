// 4-bit weights through checkpoint files, and every way in which such a file can be wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "base/error.hpp"
#include "io/safetensors.hpp"
#include "quant/checkpoint.hpp"

namespace lorica::quant {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::temp_directory_path() /
        fmt::format("lorica-quant-{}-{}", ::getpid(), testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  StoredWeight weight(const std::string& kind, bool double_quant) const {
    auto generator = at::detail::createCPUGenerator(1);
    return store(at::normal(0.0, 0.1, {50, 333}, generator), {kind, at::kBFloat16, 64, double_quant});
  }

  io::WeightFiles saved(const std::vector<CheckpointTensor>& tensors) const {
    std::vector<io::TensorToSave> list;
    for (const auto& t : tensors) list.push_back({t.name, t.dtype, t.shape, t.tensor.data_ptr()});
    io::save_safetensors(folder_ / "model.safetensors", list);
    return io::WeightFiles(folder_);
  }

  std::filesystem::path folder_;
};

TEST_F(CheckpointTest, WhatIsSavedIsLoaded) {
  for (const auto kind : {"nf4", "fp4"}) {
    for (const bool double_quant : {true, false}) {
      const auto original = weight(kind, double_quant);
      const auto files = saved(to_checkpoint(original, "m.weight"));
      ASSERT_TRUE(is_prequantized(files, "m.weight"));
      EXPECT_FALSE(is_prequantized(files, "m.weight.absmax"));
      EXPECT_EQ(packed_weight_of("m.weight.absmax"), "m.weight");
      EXPECT_EQ(packed_weight_of("m.weight"), "");
      const auto described = describe_prequantized(files, "m.weight");
      ASSERT_TRUE(described);
      const auto loaded = load_prequantized(files, "m.weight");
      EXPECT_EQ(described->format, loaded.format);
      EXPECT_EQ(described->shape, loaded.shape);
      EXPECT_EQ(loaded.format, original.format);
      EXPECT_EQ(loaded.shape, original.shape);
      EXPECT_EQ(loaded.constants, original.constants);
      ASSERT_EQ(loaded.components().size(), original.components().size());
      for (std::size_t i = 0; i < loaded.components().size(); ++i) {
        EXPECT_TRUE(loaded.components()[i].second.equal(original.components()[i].second));
      }
      EXPECT_TRUE(dequantize(loaded, at::kFloat).equal(dequantize(original, at::kFloat)));
    }
  }
}

TEST_F(CheckpointTest, ADenseWeightIsOneTensor) {
  const auto tensors = to_checkpoint(store(at::ones({2, 3}), {"dense", at::kBFloat16}), "w");
  ASSERT_EQ(tensors.size(), 1u);
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].dtype, io::Dtype::bf16);
  EXPECT_EQ(tensors[0].shape, (std::vector<std::int64_t>{2, 3}));
}

/// Replaces the JSON state by an edited text.
void edit_state(std::vector<CheckpointTensor>& tensors, const std::string& from, const std::string& to) {
  auto& state = tensors.back();
  std::string text(static_cast<const char*>(state.tensor.data_ptr()), state.tensor.nbytes());
  ASSERT_NE(text.find(from), std::string::npos) << text;
  text.replace(text.find(from), from.size(), to);
  state.shape = {static_cast<std::int64_t>(text.size())};
  state.tensor = at::empty(state.shape, at::kByte);
  std::memcpy(state.tensor.data_ptr(), text.data(), text.size());
}

TEST_F(CheckpointTest, DamagedStatesAreRefusedByName) {
  const std::vector<std::array<std::string, 3>> cases = {
      {"{\"quant_type\"", "\"quant_type\"", "is not the JSON text"},
      {"\"nf4\"", "\"int4\"", "quant_type is \"int4\""},
      {"\"blocksize\": 64", "\"blocksize\": 65", "block size 65"},
      {"\"blocksize\": 64", "\"blocksize\": \"a\"", "is not the JSON text"},
      {"bfloat16", "float8", "dtype 'float8'"},
      {"[50, 333]", "[50, -333]", "list of positive sizes"},
      {"[50, 333]", "[4611686018427387904, 4]", "list of positive sizes"},
      {"[50, 333]", "[]", "list of positive sizes"},
      {"[50, 333]", "[50, 334]", "has 8325 bytes"},
      {"\"nested_blocksize\": 256", "\"nested_blocksize\": 128", "nested state of block size 128"},
      {"\"nested_offset\": ", "\"nested_offset\": 1e999, \"x\": ", "is not the JSON text"},
  };
  for (const auto& [from, to, message] : cases) {
    auto tensors = to_checkpoint(weight("nf4", true), "m.weight");
    edit_state(tensors, from, to);
    const auto files = saved(tensors);
    EXPECT_THAT(
        [&] { load_prequantized(files, "m.weight"); },
        ThrowsMessage<ModelError>(AllOf(HasSubstr("m.weight"), HasSubstr("model.safetensors"), HasSubstr(message))))
        << to;
  }
}

TEST_F(CheckpointTest, MissingAndMisshapenPartsAreRefusedByName) {
  const auto check = [&](const std::function<void(std::vector<CheckpointTensor>&)>& damage, const char* message) {
    auto tensors = to_checkpoint(weight("nf4", true), "m.weight");
    damage(tensors);
    const auto files = saved(tensors);
    EXPECT_THAT([&] { load_prequantized(files, "m.weight"); }, ThrowsMessage<ModelError>(HasSubstr(message)));
  };
  using Tensors = std::vector<CheckpointTensor>;
  for (const char* part : {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"}) {
    const auto name = std::string("m.weight") + part;
    check([&](Tensors& t) { std::erase_if(t, [&](const auto& tensor) { return tensor.name == name; }); },
          (name + "' in").c_str());
  }
  check([](Tensors& t) { std::erase_if(t, [](const auto& tensor) { return tensor.name.ends_with("nf4"); }); },
        "is not quantized in a format that Lorica knows");
  check([](Tensors& t) { t[1].tensor = t[1].tensor.narrow(0, 0, 5), t[1].shape = {5}; }, "is uint8 with 5 values");
  check([](Tensors& t) { t[2].tensor = t[2].tensor * 2; }, "unknown variant");
  check([](Tensors& t) { t[3].tensor = t[3].tensor * std::numeric_limits<float>::quiet_NaN(); }, "not finite");
}

}  // namespace
}  // namespace lorica::quant
