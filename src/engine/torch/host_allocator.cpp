#include "engine/torch/host_allocator.hpp"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

namespace lorica::engine {
namespace {

constexpr std::size_t kSmall = 128 << 10;  // malloc's own limit for what it keeps in its heap at first
constexpr std::size_t kHugePage = 2 << 20;

class HostAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    auto* data = bytes < kSmall ? small_->raw_allocate(bytes) : take(bytes);
    return {data, data, &give_back, at::Device(at::kCPU)};
  }
  /// One for all sizes: oneDNN (products in bfloat16) takes its scratch memory by raw_allocate().
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }

  HostMemory memory() {
    const std::lock_guard lock(mutex_);
    return memory_;
  }

 private:
  struct Piece {
    void* data;
    std::size_t bytes;
  };

  /// To the profiler, if it records memory.
  static void report(void* data, std::int64_t change, const HostMemory& now) {
    if (!c10::memoryProfilingEnabled()) return;
    c10::reportMemoryUsageToProfiler(data, change, now.live, now.live + now.kept, at::Device(at::kCPU));
  }

  static std::size_t round_up(std::size_t bytes) {
    static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return (bytes + page - 1) / page * page;
  }

  void* take(std::size_t asked) {
    const auto bytes = round_up(asked);
    const std::lock_guard lock(mutex_);
    auto piece = find_kept(bytes);
    if (piece.data == nullptr) {
      // What is kept makes room for what is new: so nothing is ever mapped beyond the most that lived at once.
      while (!kept_.empty() && memory_.live + memory_.kept + bytes > memory_.mapped) drop_oldest();
      piece = {map(bytes), bytes};
    }
    sizes_[piece.data] = piece.bytes;
    memory_.live += piece.bytes;
    memory_.peak = std::max(memory_.peak, memory_.live);
    memory_.mapped = std::max(memory_.mapped, memory_.live + memory_.kept);
    report(piece.data, static_cast<std::int64_t>(piece.bytes), memory_);
    return piece.data;
  }

  static void give_back(void* data);
  /// False if it isn't one of ours.
  bool keep(void* data) {
    const std::lock_guard lock(mutex_);
    const auto entry = sizes_.find(data);
    if (entry == sizes_.end()) return false;
    const Piece piece{data, entry->second};
    sizes_.erase(entry);
    memory_.live -= piece.bytes;
    memory_.kept += piece.bytes;
    report(piece.data, -static_cast<std::int64_t>(piece.bytes), memory_);
    kept_.push_back(piece);
    by_size_.emplace(piece.bytes, std::prev(kept_.end()));
    return true;
  }

  /// The smallest kept piece that fits, unless it is much too large.
  Piece find_kept(std::size_t bytes) {
    const auto found = by_size_.lower_bound(bytes);
    if (found == by_size_.end() || found->first > bytes + bytes / 8) return {nullptr, 0};
    const auto piece = *found->second;
    kept_.erase(found->second);
    by_size_.erase(found);
    memory_.kept -= piece.bytes;
    return piece;
  }

  void drop_oldest() {
    const auto piece = kept_.front();
    for (auto [entry, end] = by_size_.equal_range(piece.bytes); entry != end; ++entry) {
      if (entry->second != kept_.begin()) continue;
      by_size_.erase(entry);
      break;
    }
    kept_.pop_front();
    ::munmap(piece.data, piece.bytes);
    memory_.kept -= piece.bytes;
  }

  static char* map_pages(std::size_t bytes) {
    void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
    return static_cast<char*>(data);
  }

  /// Large pieces begin at a huge page and ask for such: products read many rows at once, each on a page of its own.
  static void* map(std::size_t bytes) {
    if (bytes < 2 * kHugePage) return map_pages(bytes);
    char* const data = map_pages(bytes + kHugePage);
    const auto before = (kHugePage - reinterpret_cast<std::uintptr_t>(data) % kHugePage) % kHugePage;
    char* const begin = data + before;
    if (before > 0) ::munmap(data, before);
    ::munmap(begin + bytes, kHugePage - before);
#if defined(MADV_HUGEPAGE)
    ::madvise(begin, bytes, MADV_HUGEPAGE);  // without effect where the system has none
#endif
    return begin;
  }

  c10::Allocator* small_ = c10::GetDefaultCPUAllocator();
  std::mutex mutex_;
  std::unordered_map<void*, std::size_t> sizes_;  // of pieces in use
  std::list<Piece> kept_;                         // oldest first
  std::multimap<std::size_t, std::list<Piece>::iterator> by_size_;
  HostMemory memory_;
};

/// Never destroyed: tensors in static objects outlive every other one.
HostAllocator& allocator() {
  static auto* one = new HostAllocator;
  return *one;
}

void HostAllocator::give_back(void* data) {
  auto& one = allocator();
  // Only whole pages can be ours: the rest is spared the lock.
  if (reinterpret_cast<std::uintptr_t>(data) % round_up(1) == 0 && one.keep(data)) return;
  one.small_->raw_deallocate(data);
}

}  // namespace

void use_host_allocator() {
  static const bool done = [] {
    c10::SetCPUAllocator(&allocator(), 1);
    return true;
  }();
  static_cast<void>(done);
}

HostMemory host_memory() {
  return allocator().memory();
}

}  // namespace lorica::engine
