// How a weight is kept in memory: dense, or in 4 bits (NF4, FP4) as bitsandbytes keeps it.
// Those who use a weight ask this interface; they never look at how it is stored.
//
// Formats: NF4 and double quantization from QLoRA (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314); bytes,
// statistics and rounding equal bitsandbytes 0.50's on its CPU (kernels/blockwise_4bit.hpp says them in full).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
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

/// Values of absmax that share a nested absmax, and codes of the 8-bit map (bitsandbytes has no other sizes).
inline constexpr std::int64_t kNestedBlockSize = 256, kNestedCodes = 256;

enum class Kind { dense, nf4, fp4 };
std::string_view kind_name(Kind kind);  ///< "dense", "nf4", "fp4"

struct WeightFormat {
  Kind kind = Kind::dense;
  at::ScalarType dtype =
      at::kFloat;            ///< storage dtype if dense, else the dtype that the weight had (its logical dtype)
  int block_size = 64;       ///< values that share an absmax: 32, 64, 128, …, 4096; rows do not break blocks
  bool double_quant = true;  ///< absmax itself in 8 bits (blocks of 256)
  bool operator==(const WeightFormat&) const = default;
};

/// A weight as it is kept. All tensors are on one device.
struct StoredWeight {
  WeightFormat format;
  std::vector<std::int64_t> shape;  ///< logical, usually [out, in]; n is their product
  at::Tensor data;    ///< dense: `shape` of format.dtype; 4-bit: uint8 [ceil(n/2)], first value in the high nibble
  at::Tensor absmax;  ///< f32 [blocks], or u8 [blocks] if double-quantized; blocks = ceil(n / block_size)
  at::Tensor nested_absmax;  ///< f32 [ceil(blocks/256)] if double-quantized, else undefined
  at::Tensor nested_code;    ///< f32 [256], the 8-bit dynamic map, if double-quantized, else undefined
  float offset = 0;          ///< mean of the absmax, taken off before they were quantized

  std::int64_t elements() const;
  bool quantized() const { return format.kind != Kind::dense; }
  /// The tensors by name ("data", "absmax", "nested_absmax", "nested_code"), for memory accounting, sharding, saving.
  std::vector<std::pair<std::string, at::Tensor>> components() const;
  std::uint64_t bytes() const;
  at::Device device() const;
  StoredWeight to(at::Device device) const;
};

/// Throws ConfigError unless block_size is a power of two from 32 to 4096 and dtype is float32, bfloat16 or float16.
void check_format(const WeightFormat& format);

/// Stores `weight` (f32, bf16 or f16, any shape) in `format`. A value that is not finite is a ModelError naming `name`.
/// Dense: shares `weight` where nothing has to be converted, so that a trainable leaf stays one.
/// 4-bit: the weight is rounded to format.dtype first, then quantized, as loading in that dtype and then quantizing
/// does.
StoredWeight store(const at::Tensor& weight, const WeightFormat& format, std::string_view name = "weight");

/// The same straight from a mapped file (F32, BF16, F16, F64): no copy of the weight in its own dtype is made unless
/// the dtypes differ, and then one piece at a time. Result on the CPU. Errors name the tensor.
/// `done_with`, if given, is called with each part of a dense weight as soon as it is converted, from several threads:
/// its pages may be given back. (Only a value that isn't finite makes it read again, for the message.) A large weight
/// is then never resident twice.
StoredWeight store_from(const io::TensorView& view, const WeightFormat& format,
                        const std::function<void(const io::TensorView& part)>& done_with = nullptr);

/// The weight as a dense tensor of `shape`. 4-bit: code × absmax in float32, then one rounding to `dtype`.
at::Tensor dequantize(const StoredWeight& weight, at::ScalarType dtype);

/// True if `weight_name` is a 4-bit weight of bitsandbytes in these files (it has a quant_state beside it).
bool is_prequantized(const io::WeightFiles& files, const std::string& weight_name);

/// Loads a 4-bit weight that transformers + bitsandbytes saved: `X.weight`, `X.weight.absmax`, `.quant_map`,
/// `.nested_absmax`, `.nested_quant_map`, `.quant_state.bitsandbytes__nf4` (or fp4). Throws ModelError naming tensor
/// and file: a part missing or of the wrong dtype or size, malformed state, unknown quant type, block size or map.
StoredWeight load_prequantized(const io::WeightFiles& files, const std::string& weight_name);

/// A tensor to be written to a checkpoint, in the shape that the file shall have; `tensor` is contiguous on the CPU.
struct CheckpointTensor {
  std::string name;
  io::Dtype dtype;
  std::vector<std::int64_t> shape;
  at::Tensor tensor;
};
/// What transformers + bitsandbytes save for this weight under `weight_name` (one tensor if it is dense).
std::vector<CheckpointTensor> to_checkpoint(const StoredWeight& weight, const std::string& weight_name);

}  // namespace lorica::quant
