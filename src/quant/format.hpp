// What a weight format is: an object that knows its tensors, how values become them and come back, how the matrix
// product reads them in place, and what they are called in a checkpoint. One file of formats/ and one row of the
// registry each. Everybody else loops over parts and asks quant/weight.hpp.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/checkpoint.hpp"
#include "quant/kernel_weight.hpp"
#include "quant/weight.hpp"

namespace lorica::quant {

/// One tensor of a stored weight, known before it exists. It may be cut among processes into `units` pieces of
/// `unit_bytes` each, of which the last may be short: rows of a dense weight, blocks of a quantized one.
struct PartSpec {
  std::string name;
  at::ScalarType dtype;
  std::vector<std::int64_t> shape;
  std::int64_t units = 1, unit_bytes = 0;
  std::int64_t bytes() const;
};
/// A part that is cut by its first dimension.
PartSpec rows_part(std::string name, at::ScalarType dtype, std::vector<std::int64_t> shape);

class Format {
 public:
  virtual ~Format() = default;
  virtual std::string_view name() const = 0;
  /// Throws ConfigError if `format` has numbers that this one can't have.
  virtual void check(const WeightFormat& format) const = 0;
  virtual std::string describe(const WeightFormat& format) const = 0;
  /// The tensors of a weight of this shape. Throws ModelError if such a shape can't be stored so.
  virtual std::vector<PartSpec> parts(const WeightFormat& format, const std::vector<std::int64_t>& shape) const = 0;

  /// What values are rounded to on their way: one that isn't finite there can't be stored.
  virtual at::ScalarType rounds_to(const WeightFormat& format) const { return format.dtype; }

  /// Fills the parts of `weight` from `values` (of format.dtype, contiguous, on any device). False if a value isn't
  /// finite; the parts are then worthless.
  virtual bool quantize(const at::Tensor& values, StoredWeight& weight) const = 0;
  /// The same from a mapped tensor of a float dtype, on the CPU. `done_with` as store_from() has it.
  virtual bool quantize(const io::TensorView& view, StoredWeight& weight,
                        const std::function<void(const io::TensorView&)>& done_with) const = 0;
  virtual at::Tensor dequantize(const StoredWeight& weight, at::ScalarType dtype) const = 0;
  /// Whether kernels/gemm.hpp can read it where it lies on the CPU (the product dequantizes it otherwise), and how.
  virtual bool has_operand(const StoredWeight& weight) const = 0;
  virtual KernelWeight operand(const StoredWeight& weight) const = 0;

  /// Is `weight_name` stored in this format there?
  virtual bool is_in(const io::WeightFiles& files, const std::string& weight_name) const = 0;
  /// What stands beside it says of it. Throws ModelError naming the tensor and its file.
  virtual PackedWeight describe_in(const io::WeightFiles& files, const std::string& weight_name) const = 0;
  /// Reads it. Throws ModelError naming the tensor and its file.
  virtual StoredWeight load(const io::WeightFiles& files, const std::string& weight_name) const = 0;
  /// What is written for it.
  virtual std::vector<CheckpointTensor> save(const StoredWeight& weight, const std::string& weight_name) const = 0;
  /// The ends of the names of tensors that stand beside a weight ("weight.absmax" for "….q_proj.weight").
  virtual std::vector<std::string> companions() const = 0;
};

/// All formats, dense first (formats/registry.cpp).
std::span<const Format* const> formats();
/// Throws ConfigError that lists the names when there is none of this name.
const Format& find_format(std::string_view name);

}  // namespace lorica::quant
