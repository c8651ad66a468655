#include "engine/torch/host_allocator.hpp"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <cstring>

namespace lorica::engine {
namespace {

TEST(HostAllocator, GivesAndTakesBackRawMemoryOfEverySize) {
  use_host_allocator();
  auto* allocator = c10::GetCPUAllocator();
  const auto live = host_memory().live;
  for (const std::size_t bytes : {1UL, 64UL, 4096UL, 100'000UL, 200'000UL, 5'000'000UL}) {
    void* data = allocator->raw_allocate(bytes);
    ASSERT_NE(data, nullptr);
    std::memset(data, 1, bytes);
    allocator->raw_deallocate(data);
  }
  allocator->raw_deallocate(allocator->raw_allocate(0));
  EXPECT_EQ(host_memory().live, live);
}

// oneDNN's products take their scratch memory by the raw interface.
TEST(HostAllocator, LetsProductsInBfloat16Run) {
  use_host_allocator();
  const auto a = at::ones({300, 200}, at::kBFloat16), b = at::ones({200, 100}, at::kBFloat16);
  EXPECT_EQ(at::mm(a, b).to(at::kFloat).min().item<float>(), 200);
}

}  // namespace
}  // namespace lorica::engine
