// NF4 and FP4 as bitsandbytes keeps them, with or without double quantization. Internal to quant/.
//
// Formats: NF4 and double quantization from QLoRA (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314); bytes,
// statistics and rounding equal bitsandbytes 0.50's on its CPU (kernels/blockwise_4bit.hpp says them in full).
// Parts, with n values and blocks = ceil(n / block_size):
//   data          u8 [ceil(n/2)], first value in the high nibble
//   absmax        f32 [blocks], or u8 [blocks] if double-quantized; and then
//   nested_absmax f32 [ceil(blocks/256)]
//   nested_code   f32 [256], the 8-bit dynamic map
// Constants, if double-quantized: the mean of the absmax, taken off before they were quantized.
#pragma once

#include "kernels/blockwise_4bit.hpp"
#include "quant/formats/formats.hpp"

namespace lorica::quant {

/// Values of absmax that share a nested absmax, and codes of the 8-bit map (bitsandbytes has no other sizes).
inline constexpr std::int64_t kNestedBlockSize = 256, kNestedCodes = 256;

class Bitsandbytes4bit : public Format {
 public:
  enum Part : std::size_t { kData, kAbsmax, kNestedAbsmax, kNestedCode };

  Bitsandbytes4bit(std::string_view name, kernels::Code4 code) : name_(name), code_(code) {}
  std::string_view name() const override { return name_; }
  kernels::Code4 code() const { return code_; }
  void check(const WeightFormat& format) const override;
  std::string describe(const WeightFormat& format) const override;
  std::vector<PartSpec> parts(const WeightFormat& format, const std::vector<std::int64_t>& shape) const override;
  bool quantize(const at::Tensor& values, StoredWeight& weight) const override;
  bool quantize(const io::TensorView& view, StoredWeight& weight,
                const std::function<void(const io::TensorView&)>& done_with) const override;
  at::Tensor dequantize(const StoredWeight& weight, at::ScalarType dtype) const override;
  bool has_operand(const StoredWeight&) const override { return true; }
  KernelWeight operand(const StoredWeight& weight) const override;

  // In bitsandbytes_4bit_files.cpp.
  bool is_in(const io::WeightFiles& files, const std::string& weight_name) const override;
  PackedWeight describe_in(const io::WeightFiles& files, const std::string& weight_name) const override;
  StoredWeight load(const io::WeightFiles& files, const std::string& weight_name) const override;
  std::vector<CheckpointTensor> save(const StoredWeight& weight, const std::string& weight_name) const override;
  std::vector<std::string> companions() const override;

 private:
  std::string_view name_;
  kernels::Code4 code_;
};

}  // namespace lorica::quant
