// What a stored weight is: its checks, sizes and parts.
#include "quant/weight.hpp"

#include "quant/dtype_name.hpp"
#include "quant/layout.hpp"

namespace lorica::quant {

std::string_view kind_name(Kind kind) {
  return kind == Kind::nf4 ? "nf4" : kind == Kind::fp4 ? "fp4" : "dense";
}

void check_format(const WeightFormat& format) {
  if (!is_float_type(format.dtype)) {
    raise<ConfigError>("a weight can't be kept as {}: use float32, bfloat16 or float16", dtype_name(format.dtype));
  }
  if (format.kind == Kind::dense) return;
  const int size = format.block_size;
  if (size < 32 || size > 4096 || (size & (size - 1)) != 0) {
    raise<ConfigError>("block size {} of {} weights: use 32, 64, 128, 256, 512, 1024, 2048 or 4096", size,
                       kind_name(format.kind));
  }
}

std::int64_t StoredWeight::elements() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

std::vector<std::pair<std::string, at::Tensor>> StoredWeight::components() const {
  std::vector<std::pair<std::string, at::Tensor>> parts = {{"data", data}};
  if (absmax.defined()) parts.emplace_back("absmax", absmax);
  if (nested_absmax.defined()) parts.emplace_back("nested_absmax", nested_absmax);
  if (nested_code.defined()) parts.emplace_back("nested_code", nested_code);
  return parts;
}

std::uint64_t StoredWeight::bytes() const {
  std::uint64_t total = 0;
  for (const auto& [name, tensor] : components()) total += tensor.nbytes();
  return total;
}

at::Device StoredWeight::device() const {
  return data.device();
}

StoredWeight StoredWeight::to(at::Device device) const {
  StoredWeight moved = *this;
  for (auto* part : {&moved.data, &moved.absmax, &moved.nested_absmax, &moved.nested_code}) {
    if (part->defined()) *part = part->to(device);
  }
  return moved;
}

}  // namespace lorica::quant
