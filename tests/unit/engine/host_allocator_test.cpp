// Tensors' host memory: what is freed serves again, and nothing is mapped beyond the most that lived at once.
#include "engine/torch/host_allocator.hpp"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "base/random.hpp"

namespace lorica::engine {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kLarge = 37 * kMiB;  // than anything that other tests of this program leave behind

// Before any test: the counting allocator of other tests wants to find it below itself, or it would stay out.
const bool kInstalled = (use_host_allocator(), true);

at::Tensor bytes(std::int64_t count) {
  return at::empty({count}, at::kByte);
}

TEST(HostAllocator, FreedMemoryServesTheNextOfItsSize) {
  ASSERT_TRUE(kInstalled);
  const auto before = host_memory();
  const void* first = nullptr;
  {
    const auto a = bytes(kLarge);
    first = a.data_ptr();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0U);
    EXPECT_EQ(host_memory().live, before.live + kLarge);
  }
  EXPECT_EQ(host_memory().live, before.live);
  EXPECT_EQ(bytes(kLarge).data_ptr(), first);
  EXPECT_EQ(bytes(kLarge - 100'000).data_ptr(), first);  // an eighth less at most
  EXPECT_NE(bytes(kMiB).data_ptr(), first);
}

TEST(HostAllocator, MapsNoMoreThanLivedAtOnce) {
  ASSERT_TRUE(kInstalled);
  std::vector<at::Tensor> held;
  std::uint64_t key = 7;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const auto draw = random_key({key, i});
    if (!held.empty() && (held.size() > 24 || draw % 2 == 0)) {
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(draw / 2 % held.size()));
    } else {
      held.push_back(bytes(static_cast<std::int64_t>(draw / 2 % (4 * kMiB)) + 1));
    }
  }
  const auto memory = host_memory();
  EXPECT_LE(memory.mapped, memory.peak);
  EXPECT_GT(memory.peak, static_cast<std::uint64_t>(10 * kMiB));
}

TEST(HostAllocator, ThreadsDontMeetInOnePiece) {
  ASSERT_TRUE(kInstalled);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &wrong] {
      for (int i = 0; i < 200; ++i) {
        const auto tensor = at::full({kMiB}, t, at::kByte);
        wrong[static_cast<std::size_t>(t)] += tensor.ne(t).any().item<bool>() ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(HostAllocator, GivesAndTakesBackRawMemoryOfEverySize) {
  ASSERT_TRUE(kInstalled);
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
  ASSERT_TRUE(kInstalled);
  const auto a = at::ones({300, 200}, at::kBFloat16), b = at::ones({200, 100}, at::kBFloat16);
  EXPECT_EQ(at::mm(a, b).to(at::kFloat).min().item<float>(), 200);
}

}  // namespace
}  // namespace lorica::engine
