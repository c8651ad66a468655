// The scan for values that are not finite, and the choice of kernel mode.
#include "kernels/finite.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/error.hpp"
#include "base/machine.hpp"
#include "kernels/mode.hpp"

namespace lorica::kernels {
namespace {

TEST(Finite, FindsTheFirst) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto type : {FloatType::f32, FloatType::bf16, FloatType::f16}) {
    const std::int64_t n = 500003;
    std::vector<std::byte> data(static_cast<std::size_t>(n) * float_size(type));
    for (std::int64_t i = 0; i < n; ++i) store_float(data.data(), type, i, i % 2 ? 60000.0f : -1e-7f);
    EXPECT_EQ(first_non_finite(data.data(), type, n), -1);
    EXPECT_EQ(first_non_finite(data.data(), type, 0), -1);
    for (const std::int64_t at : {n - 1, std::int64_t{300001}, std::int64_t{4096}, std::int64_t{0}}) {
      store_float(data.data(), type, at, at % 2 ? -infinity : std::numeric_limits<float>::quiet_NaN());
      EXPECT_EQ(first_non_finite(data.data(), type, n), at) << float_name(type);
    }
  }
}

TEST(KernelMode, ReferenceIsAlwaysThereAndOthersOnlyIfTheCpuHasThem) {
  set_kernel_mode(KernelMode::reference);
  EXPECT_EQ(instruction_set(), InstructionSet::reference);
  const auto try_mode = [](KernelMode mode, bool has, InstructionSet set) {
    if (!has) {
      EXPECT_THROW(set_kernel_mode(mode), DeviceError);
      return;
    }
    set_kernel_mode(mode);
    EXPECT_EQ(instruction_set(), set);
  };
  try_mode(KernelMode::avx2, cpu_features().avx2, InstructionSet::avx2);
  try_mode(KernelMode::avx512, cpu_features().avx512, InstructionSet::avx512);
  set_kernel_mode(KernelMode::automatic);
  EXPECT_EQ(instruction_set() == InstructionSet::reference, !cpu_features().avx2);
}

}  // namespace
}  // namespace lorica::kernels
