// Counts the bytes that LibTorch allocates on the CPU: exact and the same in every run, unlike a resident set.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace lorica::test {

/// While it lives, every CPU tensor's memory goes through it. One at a time.
class CountingAllocator final : public c10::Allocator {
 public:
  CountingAllocator() : base_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, kPriority); }
  ~CountingAllocator() override { c10::SetCPUAllocator(base_, kPriority); }
  CountingAllocator(const CountingAllocator&) = delete;
  CountingAllocator& operator=(const CountingAllocator&) = delete;

  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = base_->raw_allocate(bytes);
    const std::lock_guard lock(counts().mutex);
    if (data != nullptr) counts().sizes[data] = static_cast<std::int64_t>(bytes);
    counts().held += static_cast<std::int64_t>(bytes);
    counts().peak = std::max(counts().peak, counts().held);
    counts().free = base_->raw_deleter();
    return {data, data, &free_block, c10::kCPU};
  }
  // LibTorch's kernels also ask for memory without an owner; it is freed by this.
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { base_->copy_data(to, from, bytes); }

  /// Bytes above those held now, at the highest point of `action`.
  template <class Action>
  std::int64_t peak_of(const Action& action) {
    const auto before = counts().held;
    counts().peak = before;
    action();
    return counts().peak - before;
  }

  /// Bytes above those held now, once `action` is done: what it left alive.
  template <class Action>
  std::int64_t held_by(const Action& action) {
    const auto before = counts().held;
    action();
    return counts().held - before;
  }

 private:
  static constexpr std::uint8_t kPriority = 200;
  struct Counts {
    std::mutex mutex;
    std::unordered_map<void*, std::int64_t> sizes;
    std::int64_t held = 0, peak = 0;
    c10::DeleterFnPtr free = nullptr;
  };
  // Static: tensors made while an allocator lived may be freed after it.
  static Counts& counts() {
    static Counts all;
    return all;
  }
  static void free_block(void* data) {
    const std::lock_guard lock(counts().mutex);
    const auto found = counts().sizes.find(data);
    counts().held -= found->second;
    counts().sizes.erase(found);
    counts().free(data);
  }

  c10::Allocator* base_;
};

}  // namespace lorica::test
