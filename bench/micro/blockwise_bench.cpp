// Blockwise quantization: a weight to NF4 and back, and absmax to 8 bits and back. 16 Mi values, far beyond the caches.
#include "harness.hpp"

#include "kernels/blockwise_4bit.hpp"
#include "kernels/blockwise_8bit.hpp"
#include "quant/composed.hpp"
#include "quant/kernel_weight.hpp"

namespace {

using namespace lorica;
using bench::Pair;

constexpr std::int64_t kValues = std::int64_t{1} << 24, kBlock = 64, kNestedBlock = 256;
constexpr auto kCode = kernels::Code4::nf4;

struct Packed {
  at::Tensor data = at::empty({kernels::packed_bytes(kValues)}, at::kByte);
  at::Tensor absmax = at::empty({kernels::block_count(kValues, kBlock)});
};

void quantize(const at::Tensor& values, const Packed& packed) {
  kernels::quantize_4bit(kCode, values.data_ptr(), quant::float_type(values.scalar_type()), kValues, kBlock,
                         packed.data.data_ptr<std::uint8_t>(), packed.absmax.data_ptr<float>());
}

Pair quantize_4bit(at::ScalarType dtype) {
  const auto values = at::randn({kValues}).to(dtype);
  const Packed packed;
  return {[=] {
            quantize(values, packed);
            return std::vector{packed.data, packed.absmax};
          },
          [=] {
            const auto [data, absmax] = quant::quantize_4bit_composed(kCode, values, kBlock);
            return std::vector{data, absmax};
          },
          {}};
}

Pair dequantize_4bit(at::ScalarType dtype) {
  const Packed packed;
  quantize(at::randn({kValues}), packed);
  const auto out = at::empty({kValues}, dtype);
  return {
      [=] {
        kernels::dequantize_4bit(kCode, packed.data.data_ptr<std::uint8_t>(), packed.absmax.data_ptr<float>(), kValues,
                                 kBlock, quant::float_type(dtype), out.data_ptr());
        return std::vector{out};
      },
      [=] {
        return std::vector{quant::dequantize_4bit_composed(kCode, packed.data, packed.absmax, kValues, kBlock, dtype)};
      },
      {}};
}

struct Codes {
  at::Tensor codes = at::empty({kValues}, at::kByte);
  at::Tensor absmax = at::empty({kValues / kNestedBlock});
  at::Tensor map = at::empty({256});
  Codes() { std::copy_n(kernels::dynamic_map().data(), 256, map.data_ptr<float>()); }
};

void quantize(const at::Tensor& values, const Codes& out) {
  kernels::quantize_8bit(values.data_ptr<float>(), kValues, kNestedBlock, out.codes.data_ptr<std::uint8_t>(),
                         out.absmax.data_ptr<float>());
}

/// kernels/blockwise_8bit.hpp's formula in ATen's operations, but that the product and the sum of a step are rounded
/// apart: 65,535 · 2⁻²⁵ of the steps come out one further, and some of those have another code.
Pair quantize_8bit() {
  const auto values = at::randn({kValues});
  const Codes out;
  const auto midpoints = (out.map.slice(0, 1) + out.map.slice(0, 0, 255)) * 0.5;
  const auto aten = [=] {
    const auto blocks = values.view({-1, kNestedBlock});
    const auto absmax = blocks.abs().amax(1);
    const auto scaled = (blocks * absmax.reciprocal().unsqueeze(1)).clamp_(-1, 1);
    const auto steps = scaled.add_(1).mul_(0.5).mul_(65535).add_(0.5).trunc_();
    const auto codes = at::bucketize(steps.mul_(2).div_(65535).sub_(1), midpoints, true);
    return std::vector{codes.view({-1}).to(at::kByte), absmax};
  };
  return {[=] {
            quantize(values, out);
            return std::vector{out.codes, out.absmax};
          },
          aten,
          {0, 0, 65535 * 0x1p-25}};
}

Pair dequantize_8bit() {
  constexpr float kOffset = 0.25f;
  const Codes codes;
  quantize(at::randn({kValues}), codes);
  const auto out = at::empty({kValues});
  return {[=] {
            kernels::dequantize_8bit(codes.codes.data_ptr<std::uint8_t>(), codes.map.data_ptr<float>(),
                                     codes.absmax.data_ptr<float>(), kValues, kNestedBlock, kOffset,
                                     out.data_ptr<float>());
            return std::vector{out};
          },
          [=] { return std::vector{quant::dequantize_absmax_composed(codes.codes, codes.map, codes.absmax, kOffset)}; },
          {}};
}

void add_pairs(bench::Suite& suite) {
  for (const auto& [name, dtype] : {std::pair{"f32", at::kFloat}, std::pair{"bf16", at::kBFloat16}}) {
    const double values = static_cast<double>(kValues);
    const bench::Work work{0, values * (static_cast<double>(at::elementSize(dtype)) + 0.5 + 4.0 / kBlock)};
    suite.add(fmt::format("4bit/quantize/{}", name), work, [dtype = dtype] { return quantize_4bit(dtype); });
    suite.add(fmt::format("4bit/dequantize/{}", name), work, [dtype = dtype] { return dequantize_4bit(dtype); });
  }
  const bench::Work work{0, static_cast<double>(kValues) * (4 + 1 + 4.0 / kNestedBlock)};
  suite.add("8bit/quantize/f32", work, quantize_8bit);
  suite.add("8bit/dequantize/f32", work, dequantize_8bit);
}

}  // namespace

int main(int count, char** arguments) {
  return lorica::bench::run_pairs(count, arguments, add_pairs);
}
