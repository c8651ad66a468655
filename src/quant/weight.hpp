// A weight as it is kept in memory: dense, or quantized in one of the formats of quant/formats/.
// Those who use a weight ask these functions; they never look at how it is stored. What a format is: quant/format.hpp.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/dtype.hpp"

namespace lorica::io {
struct TensorView;
class WeightFiles;
}  // namespace lorica::io

namespace lorica::quant {

/// A format and its numbers. Fields that a format doesn't have are left as they are here.
struct WeightFormat {
  std::string name = "dense";  ///< a row of the registry: "dense", "nf4", "fp4", "int8"
  at::ScalarType dtype =
      at::kFloat;       ///< storage dtype if dense, else the dtype that the weight had (its logical dtype)
  int block_size = 64;  ///< nf4, fp4: values that share an absmax, 32, 64, 128, …, 4096; rows do not break blocks
  bool double_quant = true;  ///< nf4, fp4: absmax itself in 8 bits (blocks of 256)
  bool quantized() const { return name != "dense"; }
  bool operator==(const WeightFormat&) const = default;
};
void to_json(nlohmann::json& json, const WeightFormat& format);
void from_json(const nlohmann::json& json, WeightFormat& format);

/// A weight as it is kept. All tensors are on one device.
struct StoredWeight {
  WeightFormat format;
  std::vector<std::int64_t> shape;  ///< logical, usually [out, in]; n is their product
  std::vector<at::Tensor> parts;    ///< as Format::parts() lists them: first the values (dense) or their codes
  std::vector<double> constants;    ///< the few numbers of its state that stay on the host; which: its format's file

  const at::Tensor& data() const { return parts.at(0); }
  std::int64_t elements() const;
  bool quantized() const { return format.quantized(); }
  /// The tensors by name, for memory accounting and tests.
  std::vector<std::pair<std::string, at::Tensor>> components() const;
  std::uint64_t bytes() const;
  at::Device device() const { return data().device(); }
  StoredWeight to(at::Device device) const;
};

/// Throws ConfigError for a format that isn't known, or whose numbers it can't have.
void check_format(const WeightFormat& format);
/// "float32", "nf4 (blocks of 64, double quantization)": for people.
std::string describe(const WeightFormat& format);

/// `tensor` itself as a dense weight.
StoredWeight dense_weight(const at::Tensor& tensor);

/// Stores `weight` (f32, bf16 or f16, any shape that the format takes) in `format`. A value that is not finite is a
/// ModelError naming `name`. Dense: shares `weight` where nothing has to be converted, so that a trainable leaf stays
/// one. Quantized: the weight is rounded to format.dtype first, then quantized, as loading in that dtype and then
/// quantizing does.
StoredWeight store(const at::Tensor& weight, const WeightFormat& format, std::string_view name = "weight");

/// The same straight from a mapped file (F32, BF16, F16, F64): no copy of the weight in its own dtype is made unless
/// the dtypes differ, and then one piece at a time. Result on the CPU. Errors name the tensor.
/// `done_with`, if given, is called with each part of a dense weight as soon as it is converted, from several threads:
/// its pages may be given back. (Only a value that isn't finite makes it read again, for the message.) A large weight
/// is then never resident twice.
StoredWeight store_from(const io::TensorView& view, const WeightFormat& format,
                        const std::function<void(const io::TensorView& part)>& done_with = nullptr);

/// The weight as a dense tensor of `shape`: its format's values, rounded once to `dtype`.
at::Tensor dequantize(const StoredWeight& weight, at::ScalarType dtype);

/// True if `weight_name` is quantized in these files, in a format that we know.
bool is_prequantized(const io::WeightFiles& files, const std::string& weight_name);
/// Loads such a weight. Throws ModelError naming tensor and file for whatever is wrong with it.
StoredWeight load_prequantized(const io::WeightFiles& files, const std::string& weight_name);
/// True if the tensor of this name only says how another one is quantized ("….q_proj.weight.absmax", "….q_proj.SCB").
bool is_quantization_part(std::string_view tensor_name);

/// A tensor to be written to a checkpoint, in the shape that the file shall have; `tensor` is contiguous on the CPU.
struct CheckpointTensor {
  std::string name;
  io::Dtype dtype;
  std::vector<std::int64_t> shape;
  at::Tensor tensor;
};
/// What the program whose format it is saves for this weight under `weight_name` (one tensor if it is dense).
std::vector<CheckpointTensor> to_checkpoint(const StoredWeight& weight, const std::string& weight_name);

}  // namespace lorica::quant
