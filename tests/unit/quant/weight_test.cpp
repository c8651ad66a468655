// Storing and dequantizing weights: kernels against the ATen composition, files against tensors, bad values.
#include "quant/weight.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "io/safetensors.hpp"
#include "kernels/mode.hpp"
#include "quant/composed.hpp"
#include "quant/format.hpp"

namespace lorica::quant {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

at::Tensor normal(std::vector<std::int64_t> shape, std::uint64_t seed, at::ScalarType dtype = at::kFloat) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::normal(0.0, 0.05, shape, generator).to(dtype);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         std::memcmp(a.contiguous().data_ptr(), b.contiguous().data_ptr(), a.nbytes()) == 0;
}

void expect_same(const StoredWeight& a, const StoredWeight& b) {
  EXPECT_EQ(a.format, b.format);
  EXPECT_EQ(a.shape, b.shape);
  EXPECT_EQ(a.constants, b.constants);
  const auto left = a.components(), right = b.components();
  ASSERT_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].first, right[i].first);
    EXPECT_TRUE(same_bits(left[i].second, right[i].second)) << left[i].first;
  }
}

io::TensorView view_of(const at::Tensor& tensor, io::Dtype dtype) {
  return {"block.weight", dtype, tensor.sizes().vec(), static_cast<const std::byte*>(tensor.data_ptr()),
          tensor.nbytes()};
}

using Parameters = std::tuple<std::string, at::ScalarType, int>;
class StoredWeightTest : public testing::TestWithParam<Parameters> {};

TEST_P(StoredWeightTest, KernelsAgreeWithTheComposition) {
  const auto [kind, dtype, block_size] = GetParam();
  const auto code = kind == "nf4" ? kernels::Code4::nf4 : kernels::Code4::fp4;
  for (const auto& shape : {std::vector<std::int64_t>{64, 64}, {17, 31}, {1, 5}, {33, 4097}}) {
    auto values = normal(shape, 1, dtype);
    values.view({-1})[0] = 0.0;
    const auto stored = store(values, {kind, dtype, block_size, false});
    const auto [packed, absmax] = quantize_4bit_composed(code, values, block_size);
    EXPECT_TRUE(same_bits(stored.data(), packed));
    EXPECT_TRUE(same_bits(stored.parts[1], absmax));
    for (const auto out : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const auto composed = dequantize_4bit_composed(code, packed, absmax, values.numel(), block_size, out);
      EXPECT_TRUE(same_bits(dequantize(stored, out), composed.view(shape)));
    }
  }
}

TEST_P(StoredWeightTest, DoubleQuantizationAgreesWithTheComposition) {
  const auto [kind, dtype, block_size] = GetParam();
  const auto stored = store(normal({160, 257}, 2, dtype), {kind, dtype, block_size, true});
  const std::int64_t blocks = (160 * 257 + block_size - 1) / block_size;
  const auto& parts = stored.parts;  // data, absmax, nested_absmax, nested_code
  EXPECT_EQ(parts.at(1).sizes(), at::IntArrayRef({blocks}));
  EXPECT_EQ(parts.at(2).sizes(), at::IntArrayRef({(blocks + 255) / 256}));
  const auto absmax =
      dequantize_absmax_composed(parts[1], parts.at(3), parts[2], static_cast<float>(stored.constants.at(0)));
  const auto code = kind == "nf4" ? kernels::Code4::nf4 : kernels::Code4::fp4;
  const auto expected = dequantize_4bit_composed(code, stored.data(), absmax, 160 * 257, block_size, dtype);
  EXPECT_TRUE(same_bits(dequantize(stored, dtype), expected.view({160, 257})));
}

TEST_P(StoredWeightTest, AFileGivesTheSameAsATensor) {
  const auto [kind, dtype, block_size] = GetParam();
  // More than one piece of 65,536 values, and a last block that is not whole.
  for (const auto source : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    const auto values = normal({3, 50001}, 3, source);
    const auto name = source == at::kFloat      ? io::Dtype::f32
                      : source == at::kBFloat16 ? io::Dtype::bf16
                      : source == at::kHalf     ? io::Dtype::f16
                                                : io::Dtype::f64;
    for (const auto& stored_kind : {kind, std::string("dense")}) {
      const WeightFormat format{stored_kind, dtype, block_size, true};
      const auto from_tensor = store(source == at::kDouble ? values.to(at::kFloat) : values, format);
      expect_same(store_from(view_of(values, name), format), from_tensor);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, StoredWeightTest,
                         testing::Combine(testing::Values(std::string("nf4"), std::string("fp4")),
                                          testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                                          testing::Values(32, 64, 512, 4096)));

TEST(StoredWeight, ReferenceModeGivesTheSameBytes) {
  const auto values = normal({100, 100}, 4, at::kBFloat16);
  const WeightFormat format{"nf4", at::kBFloat16, 64, true};
  const auto fast = store(values, format);
  kernels::set_kernel_mode(kernels::KernelMode::reference);
  const auto reference = store(values, format);
  kernels::set_kernel_mode(kernels::KernelMode::automatic);
  expect_same(fast, reference);
}

TEST(StoredWeight, AnUnalignedMappingIsRead) {
  const auto values = normal({64, 65}, 5);
  std::vector<std::byte> bytes(values.nbytes() + 1);
  std::memcpy(bytes.data() + 1, values.data_ptr(), values.nbytes());
  auto view = view_of(values, io::Dtype::f32);
  view.data = bytes.data() + 1;
  const WeightFormat format{"nf4", at::kFloat, 64, true};
  expect_same(store_from(view, format), store(values, format));
}

TEST(StoredWeight, PartsOfAFileAreDoneWithOnceAndNotReadAgain) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    auto values = normal({3, 50001}, 9);
    const auto expected = store(values.clone(), {"dense", dtype});
    const auto view = view_of(values, io::Dtype::f32);
    std::mutex mutex;
    std::map<std::size_t, std::size_t> parts;  // first byte -> bytes
    const auto stored = store_from(view, {"dense", dtype}, [&](const io::TensorView& part) {
      EXPECT_EQ(part.name, view.name);
      std::memset(const_cast<std::byte*>(part.data), 0xFF, part.bytes);  // NaN from here on
      const std::lock_guard lock(mutex);
      parts[static_cast<std::size_t>(part.data - view.data)] = part.bytes;
    });
    expect_same(stored, expected);
    std::size_t end = 0;
    for (const auto& [first, bytes] : parts) {
      EXPECT_EQ(first, end);
      end = first + bytes;
    }
    EXPECT_EQ(end, view.bytes);
    EXPECT_GT(parts.size(), 1U);
  }
}

TEST(StoredWeight, BytesAreThoseOfItsParts) {
  const auto values = normal({256, 512}, 6, at::kBFloat16);
  EXPECT_EQ(store(values, {"dense", at::kBFloat16}).bytes(), 256u * 512 * 2);
  EXPECT_EQ(store(values, {"nf4", at::kBFloat16, 64, false}).bytes(), 256u * 512 / 2 + 2048 * 4);
  EXPECT_EQ(store(values, {"nf4", at::kBFloat16, 64, true}).bytes(), 256u * 512 / 2 + 2048 + 8 * 4 + 256 * 4);
}

// Bad input "NaN in weights": the message names the tensor and the place.
TEST(StoredWeight, ValuesThatAreNotFiniteAreRefused) {
  for (const std::string kind : {"dense", "nf4", "int8"}) {
    auto values = normal({40, 70}, 7);
    values[12][34] = std::nan("");
    const WeightFormat format{kind, at::kFloat};
    const auto message = testing::AllOf(HasSubstr("model.layers.0.q"), HasSubstr("nan"), HasSubstr("[12, 34]"));
    EXPECT_THAT([&] { store(values, format, "model.layers.0.q"); }, ThrowsMessage<ModelError>(message));
    auto view = view_of(values, io::Dtype::f32);
    view.name = "model.layers.0.q";
    EXPECT_THAT([&] { store_from(view, format); }, ThrowsMessage<ModelError>(message));
    values[12][34] = -1e6;
    const auto too_large = testing::AllOf(HasSubstr("[12, 34]"), HasSubstr("too large for float16"));
    EXPECT_THAT([&] { store(values, {kind, at::kHalf}, "q"); }, ThrowsMessage<ModelError>(too_large));
    EXPECT_THAT(
        [&] {
          store_from(view_of(values, io::Dtype::f32), {kind, at::kHalf});
        },
        ThrowsMessage<ModelError>(too_large));
  }
}

TEST(StoredWeight, FormatsAndDtypesThatCannotBeAreRefused) {
  const auto values = normal({8, 8}, 8);
  EXPECT_THAT([&] { store(values, {"nf4", at::kFloat, 48}); }, ThrowsMessage<ConfigError>(HasSubstr("block size 48")));
  EXPECT_THAT([&] { store(values, {"nf4", at::kFloat, 8192}); }, ThrowsMessage<ConfigError>(HasSubstr("8192")));
  EXPECT_THAT([&] { store(values, {"dense", at::kInt}); }, ThrowsMessage<ConfigError>(HasSubstr("int32")));
  EXPECT_THAT([&] { store(values.to(at::kInt), {}, "w"); }, ThrowsMessage<ModelError>(HasSubstr("'w' is int32")));
  EXPECT_THAT([&] { store(at::empty({0, 4}), {"nf4"}, "w"); }, ThrowsMessage<ModelError>(HasSubstr("no values")));
  const auto integers = values.to(at::kLong);
  EXPECT_THAT([&] { store_from(view_of(integers, io::Dtype::i64), {}); },
              ThrowsMessage<ModelError>(HasSubstr("block.weight' is int64")));
}

TEST(StoredWeight, DenseOfTheSameDtypeIsTheTensorItself) {
  auto values = normal({8, 8}, 9);
  values.requires_grad_(true);
  const auto stored = store(values, {"dense", at::kFloat});
  EXPECT_TRUE(stored.data().is_same(values));
}

// Every format of the registry: what it says of its parts is what it makes, on sizes that fill no block.
TEST(Format, PartsAreAsTheFormatSays) {
  for (const auto* format : formats()) {
    for (const bool double_quant : {false, true}) {
      const WeightFormat chosen{std::string(format->name()), at::kBFloat16, 64, double_quant};
      for (const auto& shape : {std::vector<std::int64_t>{1, 1}, {7, 5}, {33, 130}}) {
        const auto stored = store(normal(shape, 11, at::kBFloat16), chosen);
        const auto specs = format->parts(chosen, shape);
        ASSERT_EQ(stored.parts.size(), specs.size()) << format->name();
        for (std::size_t i = 0; i < specs.size(); ++i) {
          EXPECT_EQ(stored.parts[i].sizes(), at::IntArrayRef(specs[i].shape)) << specs[i].name;
          EXPECT_EQ(stored.parts[i].scalar_type(), specs[i].dtype) << specs[i].name;
          EXPECT_EQ(static_cast<std::int64_t>(stored.parts[i].nbytes()), specs[i].bytes()) << specs[i].name;
          EXPECT_GE(specs[i].units * specs[i].unit_bytes, specs[i].bytes()) << specs[i].name;
        }
        EXPECT_EQ(nlohmann::json(chosen).get<WeightFormat>(), chosen);
        EXPECT_FALSE(describe(chosen).empty());
      }
    }
  }
  EXPECT_THAT([] { find_format("nf5"); }, ThrowsMessage<ConfigError>(HasSubstr("nf4")));
}

// Half a step of a row is the most that rounding moves a value: 1/127 of its absmax, and float16's own 2^-11.
TEST(Int8, IsWithinHalfAStepAndAgreesWithTheCompositionAndTheFile) {
  auto values = normal({37, 61}, 12);
  values[3].zero_();
  values[4][60] = 3.0;
  const WeightFormat format{"int8", at::kFloat};
  const auto stored = store(values, format);
  const auto back = dequantize(stored, at::kFloat);
  const auto absmax = values.abs().amax(1, true);
  EXPECT_TRUE(((back - values).abs() <= absmax * (0.5 / 127 + 0x1p-10)).all().item<bool>());
  EXPECT_TRUE(back[3].equal(at::zeros({61})));
  EXPECT_TRUE(same_bits(back, stored.data().to(at::kFloat) * (stored.parts[1] * (1.0f / 127.0f)).unsqueeze(1)));
  for (const auto source : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const auto given = values.to(source);
    const auto dtype = source == at::kFloat      ? io::Dtype::f32
                       : source == at::kBFloat16 ? io::Dtype::bf16
                                                 : io::Dtype::f64;
    expect_same(store_from(view_of(given, dtype), format), store(given.to(at::kFloat), format));
  }
  EXPECT_THAT([&] { store(at::ones({8}), format); }, ThrowsMessage<ModelError>(HasSubstr("no rows")));
  EXPECT_THAT(
      [&] {
        store(at::full({2, 2}, 70000.0), format, "w");
      },
      ThrowsMessage<ModelError>(testing::AllOf(HasSubstr("'w'"), HasSubstr("too large for float16"))));
}

}  // namespace
}  // namespace lorica::quant
