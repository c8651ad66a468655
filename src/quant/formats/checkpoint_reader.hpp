// Reads the tensors that stand beside a quantized weight, each failure naming the tensor and its file. Internal to
// quant/.
#pragma once

#include <ATen/ATen.h>

#include <cstring>
#include <string>

#include "base/error.hpp"
#include "io/plain_name.hpp"
#include "io/safetensors.hpp"
#include "kernels/finite.hpp"

namespace lorica::quant {

inline at::Tensor copy_of(const void* data, std::int64_t count, at::ScalarType dtype) {
  auto tensor = at::empty({count}, dtype);
  std::memcpy(tensor.data_ptr(), data, tensor.nbytes());
  return tensor;
}

class CheckpointReader {
 public:
  /// The names of parts are what follows `base` in the names of their tensors.
  CheckpointReader(const io::WeightFiles& files, const std::string& base) : files_(files), base_(base) {}

  template <class... Args>
  [[noreturn]] void fail(const std::string& part, fmt::format_string<Args...> format, Args&&... args) const {
    const auto tensor = base_ + part;
    const auto file = files_.find(tensor) ? files_.file_of(tensor) : files_.folder();
    raise<ModelError>("tensor '{}' in {}: {}", tensor, file.string(), fmt::format(format, std::forward<Args>(args)...));
  }

  /// The tensor of that part, which must have this dtype and count (any count if negative).
  const io::TensorView& part(const std::string& part, io::Dtype dtype, std::int64_t count) const {
    const auto* view = files_.find(base_ + part);
    if (!view) fail(part, "missing, though the weight is quantized by bitsandbytes");
    if (view->dtype != dtype || (count >= 0 && view->elements() != count)) {
      fail(part, "is {} with {} values, expected {} with {}", io::plain_name(view->dtype), view->elements(),
           io::plain_name(dtype), count);
    }
    return *view;
  }

  /// A part as a float32 tensor of finite values.
  at::Tensor floats(const std::string& suffix, std::int64_t count) const {
    const auto& view = part(suffix, io::Dtype::f32, count);
    const auto tensor = copy_of(view.data, count, at::kFloat);
    const auto bad = kernels::first_non_finite(tensor.data_ptr(), kernels::FloatType::f32, count);
    if (bad >= 0) fail(suffix, "value {} is not finite: the file is damaged", bad);
    return tensor;
  }

 private:
  const io::WeightFiles& files_;
  std::string base_;
};

}  // namespace lorica::quant
