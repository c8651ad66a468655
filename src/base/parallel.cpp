#include "base/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/machine.hpp"

namespace lorica {
namespace {

thread_local bool inside_body = false;

/// Workers that sleep until a job is posted. One job at a time: callers queue on `turn_`.
class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void run(std::int64_t chunks, const std::function<void(std::int64_t)>& body) {
    std::lock_guard turn(turn_);
    {
      std::lock_guard lock(mutex_);
      body_ = &body;
      next_ = 0;
      chunks_ = chunks;
      running_ = static_cast<int>(workers_.size());
      error_ = nullptr;
      ++generation_;
    }
    wake_.notify_all();
    take_chunks();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
    body_ = nullptr;
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void work() {
    std::uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
        if (stopping_) return;
        seen = generation_;
      }
      take_chunks();
      std::lock_guard lock(mutex_);
      if (--running_ == 0) done_.notify_all();
    }
  }

  void take_chunks() {
    inside_body = true;
    for (;;) {
      std::int64_t chunk;
      {
        std::lock_guard lock(mutex_);
        if (next_ >= chunks_) break;
        chunk = next_++;
      }
      try {
        (*body_)(chunk);
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        next_ = chunks_;
      }
    }
    inside_body = false;
  }

  std::mutex turn_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  const std::function<void(std::int64_t)>* body_ = nullptr;
  std::int64_t next_ = 0, chunks_ = 0;
  int running_ = 0;
  std::uint64_t generation_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
};

int requested_threads = 0;

Pool& pool() {
  static Pool instance(thread_count());
  return instance;
}

thread_local ParallelRunner foreign_runner;

/// As Pool::run, on the threads that set_parallel_runner brought.
void run_on_foreign_threads(std::int64_t chunks, const std::function<void(std::int64_t)>& body) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  foreign_runner(thread_count(), [&] {
    inside_body = true;
    for (std::int64_t chunk = next++; chunk < chunks; chunk = next++) {
      try {
        body(chunk);
      } catch (...) {
        std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        next = chunks;
      }
    }
    inside_body = false;
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace

void set_parallel_runner(ParallelRunner runner) {
  foreign_runner = std::move(runner);
}

void set_thread_count(int threads) {
  requested_threads = std::max(1, threads);
}

int thread_count() {
  if (requested_threads == 0) requested_threads = available_cores();
  return requested_threads;
}

void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  // A few chunks a thread, so that one slow core does not hold up the rest.
  const std::int64_t wanted = static_cast<std::int64_t>(thread_count()) * 4;
  const std::int64_t size = std::max(grain, (count + wanted - 1) / wanted);
  const std::int64_t chunks = (count + size - 1) / size;
  if (chunks == 1 || thread_count() == 1 || inside_body) {
    body(0, count);
    return;
  }
  const auto run_chunk = [&](std::int64_t chunk) { body(chunk * size, std::min(count, (chunk + 1) * size)); };
  if (foreign_runner) {
    run_on_foreign_threads(chunks, run_chunk);
  } else {
    pool().run(chunks, run_chunk);
  }
}

}  // namespace lorica
