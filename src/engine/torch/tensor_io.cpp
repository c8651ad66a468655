#include "engine/torch/tensor_io.hpp"

#include <ATen/ATen.h>

#include <cstring>

#include "base/error.hpp"
#include "io/plain_name.hpp"
#include "quant/dtype_name.hpp"

namespace lorica::engine {
namespace {

constexpr std::pair<io::Dtype, at::ScalarType> kTypes[] = {
    {io::Dtype::f64, at::kDouble},    {io::Dtype::f32, at::kFloat}, {io::Dtype::f16, at::kHalf},
    {io::Dtype::bf16, at::kBFloat16}, {io::Dtype::i64, at::kLong},  {io::Dtype::i32, at::kInt},
    {io::Dtype::i16, at::kShort},     {io::Dtype::i8, at::kChar},   {io::Dtype::u8, at::kByte},
    {io::Dtype::boolean, at::kBool}};

}  // namespace

at::ScalarType scalar_type(io::Dtype dtype) {
  for (const auto& [file, type] : kTypes) {
    if (file == dtype) return type;
  }
  raise<ModelError>("tensors of type {} are not supported here", io::plain_name(dtype));
}

io::Dtype file_dtype(at::ScalarType type) {
  for (const auto& [file, tensor] : kTypes) {
    if (tensor == type) return file;
  }
  raise<Error>("internal error: tensors of type {} can't be saved", quant::dtype_name(type));
}

at::Tensor to_tensor(const io::TensorView& view) {
  auto tensor = at::empty(view.shape, at::TensorOptions().dtype(scalar_type(view.dtype)));
  if (view.bytes > 0) std::memcpy(tensor.data_ptr(), view.data, view.bytes);
  return tensor;
}

void save_tensors(const std::filesystem::path& file, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                  const std::map<std::string, std::string>& metadata) {
  std::vector<at::Tensor> held;
  std::vector<io::TensorToSave> list;
  for (const auto& [name, tensor] : tensors) {
    held.push_back(tensor.detach().cpu().contiguous());
    list.push_back({name, file_dtype(tensor.scalar_type()), tensor.sizes().vec(), held.back().data_ptr()});
  }
  io::save_safetensors(file, list, metadata);
}

}  // namespace lorica::engine
