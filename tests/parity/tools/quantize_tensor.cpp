// Quantizes or dequantizes every weight of a safetensors file, for tests/parity/test_quant.py:
//   quantize_tensor quantize IN OUT (nf4|fp4|int8) BLOCK_SIZE (0|1: double quantization)
//   (automatic|reference|avx2|avx512) quantize_tensor dequantize IN OUT (float32|bfloat16|float16) MODE
// IN of dequantize is a model folder or file; what is quantized in it goes to OUT as dense tensors.
#include <cstdio>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "io/safetensors.hpp"
#include "kernels/mode.hpp"
#include "quant/weight.hpp"

using namespace lorica;

namespace {

template <class T>
T choose(const std::map<std::string, T>& choices, const std::string& name) {
  const auto found = choices.find(name);
  if (found == choices.end()) raise<ConfigError>("'{}' is none of the choices", name);
  return found->second;
}

void set_mode(const std::string& name) {
  using kernels::KernelMode;
  const std::map<std::string, KernelMode> modes = {{"automatic", KernelMode::automatic},
                                                   {"reference", KernelMode::reference},
                                                   {"avx2", KernelMode::avx2},
                                                   {"avx512", KernelMode::avx512}};
  kernels::set_kernel_mode(choose(modes, name));
}

void save(const std::string& path, const std::vector<quant::CheckpointTensor>& tensors) {
  std::vector<io::TensorToSave> list;
  for (const auto& t : tensors) list.push_back({t.name, t.dtype, t.shape, t.tensor.data_ptr()});
  io::save_safetensors(path, list);
}

void quantize(const std::vector<std::string>& arguments) {
  const std::map<io::Dtype, at::ScalarType> dtypes = {
      {io::Dtype::f32, at::kFloat}, {io::Dtype::bf16, at::kBFloat16}, {io::Dtype::f16, at::kHalf}};
  set_mode(arguments.at(6));
  const io::WeightFiles files(arguments.at(1));
  std::vector<quant::CheckpointTensor> out;
  for (const auto& name : files.names()) {
    const auto& view = files.at(name);
    const quant::WeightFormat format{arguments.at(3), dtypes.at(view.dtype), std::stoi(arguments.at(4)),
                                     arguments.at(5) == "1"};
    for (auto& tensor : quant::to_checkpoint(quant::store_from(view, format), name)) out.push_back(std::move(tensor));
  }
  save(arguments.at(2), out);
}

void dequantize(const std::vector<std::string>& arguments) {
  const std::map<std::string, at::ScalarType> dtypes = {
      {"float32", at::kFloat}, {"bfloat16", at::kBFloat16}, {"float16", at::kHalf}};
  set_mode(arguments.at(4));
  const auto dtype = choose(dtypes, arguments.at(3));
  const io::WeightFiles files(arguments.at(1));
  std::vector<quant::CheckpointTensor> out;
  for (const auto& name : files.names()) {
    if (!quant::is_prequantized(files, name)) continue;
    const auto dense = quant::dequantize(quant::load_prequantized(files, name), dtype);
    out.push_back(quant::to_checkpoint(quant::store(dense, {"dense", dtype}, name), name).front());
  }
  save(arguments.at(2), out);
}

}  // namespace

int main(int count, char** values) {
  const std::vector<std::string> arguments(values + 1, values + count);
  try {
    if (count == 8 && arguments[0] == "quantize") {
      quantize(arguments);
    } else if (count == 6 && arguments[0] == "dequantize") {
      dequantize(arguments);
    } else {
      std::fputs("usage: the first lines of quantize_tensor.cpp\n", stderr);
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
