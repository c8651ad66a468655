// Memory that a thread keeps from call to call. Internal to kernels/.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace lorica::kernels {

/// A float array at a multiple of 64 bytes that only grows: fresh memory would cost a page fault every 4 KiB. To be
/// held as `static thread_local`.
class Scratch {
 public:
  /// At least `count` floats, of any value; valid until the next call. Throws std::bad_alloc.
  float* get(std::int64_t count) {
    if (count > count_) {
      const auto bytes = static_cast<std::size_t>((count * 4 + 63) / 64 * 64);
      count_ = 0;
      memory_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      if (!memory_) throw std::bad_alloc();
      count_ = count;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> memory_;
  std::int64_t count_ = 0;
};

}  // namespace lorica::kernels
