// A fixed set of worker threads for work that has no tensors in it: tokenizing, hashing, quantizing, kernels.
#pragma once

#include <cstdint>
#include <functional>

namespace lorica {

/// Calls work() on up to `threads` threads at once, the caller's among them, and returns when all calls have. work()
/// throws nothing.
using ParallelRunner = std::function<void(int threads, const std::function<void()>& work)>;

/// From now on parallel_for runs on another library's threads when it is called from this thread: two sets of threads
/// would fight for the cores, as those of OpenMP go on spinning for a while after their work. Null undoes it.
void set_parallel_runner(ParallelRunner runner);

/// Threads that parallel_for uses (default: available_cores()). Set once at start-up, before the first use.
void set_thread_count(int threads);
int thread_count();

/// Calls body(begin, end) on disjoint ranges that cover [0, count), each at least `grain` long (but for the last), on
/// the caller's thread and the workers. Returns when all are done; rethrows the first exception. How the range is cut
/// depends on count, grain and thread_count() alone, so that results do not vary from run to run. A call from inside
/// a body runs on the calling thread.
void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body);

}  // namespace lorica
