#include "base/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/machine.hpp"

namespace lorica {
namespace {

thread_local bool inside_body = false;

int requested_threads = 0;
bool cores_are_ours = true;
std::atomic<bool> patient = false;

/// How long a thread looks for work, or for the others' end, before it sleeps. Waking a sleeping thread takes some 50
/// µs (more on a virtual machine), and a training step posts thousands of jobs a few hundred µs apart.
constexpr auto kLook = std::chrono::microseconds(500);

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Looks until found() or kLook is over; found(). Only once unless set_patient() was called, or where threads outnumber
/// cores: whoever looked there would hold up the one that is looked for.
template <class Found>
bool look(const Found& found) {
  if (!patient || !cores_are_ours) return found();
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 32; ++i) {
      if (found()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() - start < kLook);
  return found();
}

/// Runs one job at a time: numbered chunks, which the caller and the workers take one after another. The caller waits
/// for no worker that has not begun when the chunks run out.
class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    stopping_ = true;
    announce();
    for (auto& worker : workers_) worker.join();
  }

  void run(std::int64_t chunks, const std::function<void(std::int64_t)>& body) {
    const std::unique_lock turn(turn_, std::try_to_lock);
    if (!turn) {  // another thread has the workers
      for (std::int64_t chunk = 0; chunk < chunks; ++chunk) body(chunk);
      return;
    }
    body_ = &body;
    chunks_ = chunks;
    next_ = 0;
    error_ = nullptr;
    open_ = true;
    announce();
    take_chunks();
    open_ = false;
    const auto all_left = [this] { return inside_ == 0; };
    if (!look(all_left)) {
      std::unique_lock lock(mutex_);
      caller_sleeps_ = true;
      left_.wait(lock, all_left);
      caller_sleeps_ = false;
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void announce() {
    ++jobs_;
    if (sleepers_ == 0) return;
    const std::lock_guard lock(mutex_);
    posted_.notify_all();
  }

  void work() {
    for (std::uint64_t seen = 0; !stopping_;) {
      const auto is_posted = [&] { return jobs_ != seen; };
      if (!look(is_posted)) {
        std::unique_lock lock(mutex_);
        ++sleepers_;
        posted_.wait(lock, is_posted);
        --sleepers_;
      }
      seen = jobs_;
      // First in, then a look at whether the job is open: whoever closes it looks for us afterwards.
      ++inside_;
      if (open_) take_chunks();
      if (--inside_ == 0 && caller_sleeps_) {
        const std::lock_guard lock(mutex_);
        left_.notify_all();
      }
    }
  }

  void take_chunks() {
    inside_body = true;
    for (std::int64_t chunk = next_++; chunk < chunks_; chunk = next_++) {
      try {
        (*body_)(chunk);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        next_ = chunks_;
      }
    }
    inside_body = false;
  }

  std::mutex turn_, mutex_;
  std::condition_variable posted_, left_;
  std::vector<std::thread> workers_;
  const std::function<void(std::int64_t)>* body_ = nullptr;
  std::int64_t chunks_ = 0;
  std::exception_ptr error_;
  std::atomic<std::int64_t> next_{0};
  std::atomic<std::uint64_t> jobs_{0};
  std::atomic<int> inside_{0}, sleepers_{0};
  std::atomic<bool> open_{false}, caller_sleeps_{false}, stopping_{false};
};

Pool& pool() {
  static Pool instance(thread_count());
  return instance;
}

}  // namespace

void set_thread_count(int threads, int processes) {
  requested_threads = std::max(1, threads);
  cores_are_ours = requested_threads * processes <= available_cores();
}

void set_patient(bool on) {
  patient = on;
}

int thread_count() {
  if (requested_threads == 0) requested_threads = available_cores();
  return requested_threads;
}

void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  // Many chunks a thread, so that one slow core does not hold up the rest.
  const std::int64_t wanted = static_cast<std::int64_t>(thread_count()) * 16;
  const std::int64_t size = std::max(grain, (count + wanted - 1) / wanted);
  const std::int64_t chunks = (count + size - 1) / size;
  if (chunks == 1 || thread_count() == 1 || inside_body) {
    body(0, count);
    return;
  }
  const auto run_chunk = [&](std::int64_t chunk) { body(chunk * size, std::min(count, (chunk + 1) * size)); };
  pool().run(chunks, run_chunk);
}

void parallel_each(std::int64_t count, const std::function<void(std::int64_t i)>& body) {
  if (count > 1 && thread_count() > 1 && !inside_body) return pool().run(count, body);
  for (std::int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace lorica
