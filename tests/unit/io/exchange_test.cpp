// The C++ side of tests/parity/test_safetensors.py and test_peft_adapter.py: copies the file or adapter that
// LORICA_EXCHANGE_IN names to LORICA_EXCHANGE_OUT through our reader and writer. Without the variables it makes its
// own.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "base/files.hpp"
#include "base/temporary_folder.hpp"
#include "io/peft_adapter.hpp"
#include "io/safetensors.hpp"

namespace lorica::io {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name, const fs::path& fallback) {
  const char* value = std::getenv(name);
  return value ? value : fallback.string();
}

void copy_tensors(const SafetensorsFile& in, const fs::path& out) {
  SafetensorsWriter writer(out, in.metadata());
  for (const auto& [name, tensor] : in.tensors()) writer.declare(name, tensor.dtype, tensor.shape);
  for (const auto& name : writer.order()) writer.write(name, in.find(name)->data, in.find(name)->bytes);
  writer.commit();
}

TEST(Exchange, CopiesTensorByTensor) {
  test::TemporaryFolder folder;
  const std::vector<float> values = {1, 2, 3};
  save_safetensors(folder / "in.safetensors", {{"x", Dtype::f32, {3}, values.data()}});
  const auto out = variable("LORICA_EXCHANGE_OUT", folder / "out.safetensors");
  const SafetensorsFile in(variable("LORICA_EXCHANGE_IN", folder / "in.safetensors"));
  copy_tensors(in, out);
  const SafetensorsFile copy(out);
  ASSERT_EQ(copy.tensors().size(), in.tensors().size());
  for (const auto& [name, tensor] : in.tensors()) {
    ASSERT_NE(copy.find(name), nullptr);
    EXPECT_EQ(copy.find(name)->shape, tensor.shape);
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(copy.find(name)->data), tensor.bytes),
              std::string_view(reinterpret_cast<const char*>(tensor.data), tensor.bytes));
  }
}

/// Reads an adapter and writes it again with keys of our own making.
TEST(Exchange, CopiesAnAdapter) {
  test::TemporaryFolder folder;
  const std::vector<float> values(64);
  test::put_file(folder / "in" / kAdapterConfigFile, R"({"peft_type":"LORA","r":2,"target_modules":["q"]})");
  save_safetensors(folder / "in" / kAdapterWeightsFile, {{lora_a_key("m.q"), Dtype::f32, {2, 4}, values.data()},
                                                         {lora_b_key("m.q"), Dtype::f32, {8, 2}, values.data()}});
  const AdapterFiles in(variable("LORICA_EXCHANGE_IN", folder / "in"));
  const fs::path out = variable("LORICA_EXCHANGE_OUT", folder / "out");
  create_folder(out);
  write_adapter_config(out / kAdapterConfigFile, in.config());
  std::vector<TensorToSave> tensors;
  const auto add = [&](const std::string& key, const TensorView* tensor) {
    if (tensor) tensors.push_back({key, tensor->dtype, tensor->shape, tensor->data});
  };
  for (const auto& [module, pair] : in.pairs()) {
    add(lora_a_key(module), pair.a);
    add(lora_b_key(module), pair.b);
  }
  for (const auto& [name, tensor] : in.saved()) {
    const auto dot = name.rfind('.');
    add(saved_module_key(name.substr(0, dot), name.substr(dot + 1)), tensor);
  }
  save_safetensors(out / kAdapterWeightsFile, tensors);
  EXPECT_EQ(AdapterFiles(out).pairs().size(), in.pairs().size());
}

}  // namespace
}  // namespace lorica::io
