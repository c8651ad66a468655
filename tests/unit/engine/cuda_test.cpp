// What is said about CUDA devices that are missing, unfit or full: decided from facts, so no GPU is needed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "engine/engine.hpp"
#include "engine/tiny_model.hpp"
#include "engine/torch/cuda_checks.hpp"
#include "engine/torch/device_failure.hpp"
#include "engine/torch/model_builder.hpp"

namespace lorica::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

cuda::Facts working() {
  return {true, 13000, 13000, {{"NVIDIA H200", 9, 0}, {"Tesla T4", 7, 5}}, ""};
}

std::string said(const std::function<void()>& body) {
  try {
    body();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "nothing";
}

std::string said_of(const cuda::Facts& facts, int device, const char* visible = nullptr) {
  return said([&] { check_cuda_device(facts, device, visible); });
}

TEST(CudaChecks, AcceptsADeviceThatIsThere) {
  EXPECT_EQ(said_of(working(), 1), "nothing");
}

TEST(CudaChecks, NamesWhatIsMissing) {
  EXPECT_THAT(said_of({}, 0), AllOf(HasSubstr("this build has no CUDA"), HasSubstr("LORICA_CUDA=on")));
  auto facts = working();
  facts.driver = 0;
  EXPECT_THAT(said_of(facts, 0), AllOf(HasSubstr("no NVIDIA driver"), HasSubstr("13.0")));
  facts.driver = 12040;
  EXPECT_THAT(said_of(facts, 0),
              AllOf(HasSubstr("driver is too old"), HasSubstr("up to 12.4"), HasSubstr("needs 13.0")));
  // An older minor version of the same major one runs what was built for a newer one.
  facts.runtime = 12080;
  EXPECT_EQ(said_of(facts, 0), "nothing");
  facts.devices.clear();
  facts.failure = "no CUDA-capable device is detected";
  EXPECT_THAT(said_of(facts, 0, ""), AllOf(HasSubstr("no CUDA-capable"), HasSubstr("CUDA_VISIBLE_DEVICES is \"\"")));
  EXPECT_THAT(said_of(working(), 2), AllOf(HasSubstr("device 2: there is no such"), HasSubstr("1: Tesla T4")));
}

TEST(CudaChecks, SaysWhichDtypeADeviceHas) {
  EXPECT_EQ(said([] { check_bfloat16(working(), 0); }), "nothing");
  EXPECT_THAT(said([] { check_bfloat16(working(), 1); }),
              AllOf(HasSubstr("Tesla T4"), HasSubstr("7.5"), HasSubstr("fp16")));
}

TEST(CudaChecks, EachProcessOfAMachineTakesItsOwnDevice) {
  EXPECT_EQ(cuda_device_number(working(), -1, 1, nullptr), 1);
  EXPECT_EQ(cuda_device_number(working(), 0, 1, nullptr), 0);
  auto one = working();
  one.devices.pop_back();
  EXPECT_EQ(cuda_device_number(one, -1, 1, "1"), 0) << "the launcher shows each process one device";
  EXPECT_EQ(cuda_device_number(one, -1, 1, nullptr), 1) << "which is then refused";
}

TEST(CudaChecks, NoticesOtherProgramsMemory) {
  cuda::DeviceMemory memory;
  memory.total = 80 * kGiB;
  memory.free = 10 * kGiB;
  memory.reserved = 20 * kGiB;
  EXPECT_THAT(memory_held_by_others(memory), AllOf(HasSubstr("50"), HasSubstr("nvidia-smi")));
  memory.reserved = 69 * kGiB + kGiB / 2;
  EXPECT_EQ(memory_held_by_others(memory), "");
}

TEST(DeviceFailure, OutOfMemorySaysWhatWouldFit) {
  const test::TemporaryFolder folder;
  auto shape = test::tiny_architecture("llama");
  for (const char* size : {"hidden_size", "intermediate_size"}) shape[size] = 4096;
  io::write_json(folder / "config.json", shape);  // the plan reads no weights
  auto config = test::tiny_config(folder.path().string(), config::TrainType::lora);
  config.batch_size = 8;
  config.recompute = config::Recompute::keep;
  const DeviceUse use{&config, at::kCPU, "training a micro-batch", 8192};
  const auto fail = [&] {
    on_device(use, [] { TORCH_CHECK_WITH(OutOfMemoryError, false, "Tried to allocate 2 GiB"); });
  };
  EXPECT_THAT(said(fail), AllOf(HasSubstr("out of memory while training a micro-batch"), HasSubstr("2 GiB"),
                                HasSubstr("and with --")));
}

TEST(DeviceFailure, OtherResultsAndErrorsPass) {
  const config::Config config;
  EXPECT_EQ(on_device({&config}, [] { return 7; }), 7);
  EXPECT_THROW(on_device({&config}, [] { throw TrainingError("loss is nan"); }), TrainingError);
}

TEST(Device, OptionsOfCudaAreRefusedOnTheCpu) {
  config::Config config;
  config.backend = config::Backend::cpu;
  EXPECT_NO_THROW(start_device(config, at::kCPU));
  config.device_memory_limit = 1 << 30;
  EXPECT_THAT([&] { start_device(config, at::kCPU); },
              testing::ThrowsMessage<ConfigError>(HasSubstr("device_memory_limit")));
  config.device_memory_limit = 0;
  config.device = 1;
  EXPECT_THAT([&] { start_device(config, at::kCPU); }, testing::ThrowsMessage<ConfigError>(HasSubstr("device: ")));
}

}  // namespace
}  // namespace lorica::engine
