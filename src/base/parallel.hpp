// A fixed set of worker threads for work that has no tensors in it: tokenizing, hashing, quantizing, kernels.
#pragma once

#include <cstdint>
#include <functional>

namespace lorica {

/// Threads that parallel_for uses (default: available_cores()). Set once at start-up, before the first use.
/// `processes`: how many share this machine's cores, with as many threads each.
void set_thread_count(int threads, int processes = 1);
/// On: idle threads look for work for half a millisecond before they sleep, unless there are fewer cores than threads.
/// Off (at first): they sleep at once and leave the cores to other libraries' threads.
void set_patient(bool on);
int thread_count();

/// Calls body(begin, end) on disjoint ranges that cover [0, count), each at least `grain` long (but for the last), on
/// the caller's thread and the workers. Returns when all are done; rethrows the first exception. How the range is cut
/// depends on count, grain and thread_count() alone, so that results do not vary from run to run. A call from inside
/// a body, or while another thread's call is under way, runs on the calling thread.
void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body);
/// Calls body(i) for each i in [0, count), the lower ones first: a thread that is done with one takes the next. Else as
/// parallel_for.
void parallel_each(std::int64_t count, const std::function<void(std::int64_t i)>& body);

}  // namespace lorica
